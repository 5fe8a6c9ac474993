"""Store the record of a run in its notebook."""

import math
from typing import Any

MIME = "application/vnd.mnist-nb.run+json"
SCHEMA = 1
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def show_record(notebook: str, parameters: dict[str, Any], history: list[dict]) -> None:
    """Put the run's record into the output of the cell that calls this.

    `history` has one dictionary per epoch, with floats at full precision. JSON has no numbers for
    a loss that diverged (nan or inf), so it becomes one of the words in `NOT_FINITE`.
    """
    from IPython.display import display

    record = {"schema": SCHEMA, "notebook": notebook, "parameters": parameters, "history": history}
    line = f"Recorded: {len(history)} epochs of {notebook} at full precision."
    display({MIME: to_json(record), "text/plain": line}, raw=True)


def to_json(value: Any) -> Any:
    """Return `value` with a word for each number in it that JSON does not have."""
    if isinstance(value, dict):
        return {key: to_json(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return next(word for word, v in NOT_FINITE.items() if str(v) == str(value))
    return value
