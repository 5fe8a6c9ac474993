"""Read the records that the command `compare` is given, each as a notebook or as its folder."""

import os
from typing import Any

from mnist_nb.tools.runs.results import read_record, runs_in


def record_at(place: str) -> dict[str, Any]:
    """Return the record in the notebook `place`, or the only one in the folder `place`.

    Raises:
        ValueError: see `read_record`; or the folder has no record, or several.
    """
    if not os.path.isdir(place):
        return read_record(place)
    runs, left_out = runs_in([place])
    if not runs:
        raise ValueError("; ".join([f"{place}: has no record of a run", *left_out]))
    if len(runs) > 1:
        raise ValueError(f"{place}: has {len(runs)} records; name one of them")
    return read_record(runs[0]["file"])
