"""Store the record of a run in its notebook."""

import math
from typing import Any

MIME = "application/vnd.mnist-nb.run+json"
SCHEMA = 1


def show_record(notebook: str, parameters: dict[str, Any], history: list[dict]) -> None:
    """Put the run's record into the output of the cell that calls this.

    `history` has one dictionary per epoch, with floats at full precision. A loss that
    diverged (nan or inf) becomes null, as JSON has no such numbers.
    """
    from IPython.display import display

    epochs = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in history
    ]
    record = {"schema": SCHEMA, "notebook": notebook, "parameters": parameters, "history": epochs}
    line = f"Recorded: {len(history)} epochs of {notebook} at full precision."
    display({MIME: record, "text/plain": line}, raw=True)
