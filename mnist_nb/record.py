"""The record that a run leaves in its notebook."""

import math
from typing import Any

MIME = "application/vnd.mnist-nb.run+json"
SCHEMA = 1


def show_record(notebook: str, parameters: dict[str, Any], history: list[dict]) -> None:
    """Put the run's record into the output of the cell that calls this.

    `history` has one dictionary per epoch, floats at full precision. What is not
    a number (a loss that diverged) is written as null, as JSON has no other word.
    """
    from IPython.display import display

    epochs = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in history
    ]
    record = {"schema": SCHEMA, "notebook": notebook, "parameters": parameters, "history": epochs}
    line = f"Recorded: {len(history)} epochs of {notebook} at full precision."
    display({MIME: record, "text/plain": line}, raw=True)
