"""Read what papermill and scrapbook note of a run, for notebooks that keep no record of ours.

Papermill notes the parameters and the time of a run; scrapbook's `glue`, and papermill's own
`record` before it, store values in outputs.
"""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from mnist_nb.record import SCHEMA, to_json

_SCRAP, _RECORD = "application/scrapbook.scrap.json+json", "application/papermill.record+json"


def why_unfinished(papermill: dict[str, Any], counts: list[int | None]) -> str:
    """Return why a run that papermill noted is not finished, or "" if it is.

    `counts` has the execution count of the cell that papermill has inserted, if there is one.
    """
    if papermill.get("exception"):
        return "the run failed"
    if not was_run(papermill, counts):
        return "papermill has prepared it, but it was not run"
    return (
        "" if papermill.get("end_time") or "start_time" not in papermill else "the run did not end"
    )


def was_run(papermill: dict[str, Any], counts: list[int | None]) -> bool:
    """Return whether a notebook that papermill has prepared was run after that, by anyone."""
    return None not in counts if counts else "start_time" in papermill


def record_of(place: str, notebook: dict[str, Any]) -> dict[str, Any]:
    """Return a run that papermill noted as a record of ours: one epoch, with its scraps."""
    papermill = notebook["metadata"]["papermill"]
    numbers = {k: to_json(v) for k, v in _scraps(notebook) if type(v) in (int, float)}
    return {
        "schema": SCHEMA,
        "notebook": PurePath(papermill.get("input_path") or place).stem,
        "parameters": {**papermill.get("default_parameters", {}), **papermill["parameters"]},
        "history": [numbers | {"epoch": 1}],
    }


def _scraps(notebook: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of what the cells of `notebook` have stored."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if _SCRAP in data:
                yield data[_SCRAP]["name"], data[_SCRAP]["data"]
            yield from data.get(_RECORD, {}).items()
