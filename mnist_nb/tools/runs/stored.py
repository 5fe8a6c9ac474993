"""Find what an executed notebook says of its run, without parsing all its outputs."""

import json
from typing import Any, NamedTuple

from mnist_nb.record import MIME

_INSERTED = "injected-parameters"  # papermill's tag for the cell that it inserts


class Stored(NamedTuple):
    """What a notebook says of its run; what it does not say is None or empty.

    `counts` has the execution counts of the cells that papermill has inserted, and `notebook` is
    the whole notebook, if it had to be parsed.
    """

    record: Any
    machine: dict[str, Any]
    papermill: dict[str, Any]
    counts: list[int | None]
    notebook: dict[str, Any] | None = None


def stored(text: bytes) -> Stored:
    """Return what the notebook `text` says of its run.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, RecursionError: it is not a notebook.
    """
    return _last_record(text) or _whole(text)


def _whole(text: bytes) -> Stored:
    """Parse a whole notebook."""
    notebook = json.loads(text.decode())
    cells = notebook["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    records = [output["data"][MIME] for output in outputs if MIME in output.get("data", {})]
    counts = [cell.get("execution_count") for cell in cells if _INSERTED in _tags(cell)]
    last = records[-1] if records else None
    return Stored(last, *_of_run(notebook["metadata"]), counts, notebook)


def _tags(cell: dict[str, Any]) -> list[str]:
    return cell.get("metadata", {}).get("tags") or []


def _of_run(metadata: dict[str, Any]) -> tuple[dict, dict]:
    """Return the parts of a notebook's metadata that this project and papermill write."""
    return dict(metadata.get("mnist_nb", {})), dict(metadata.get("papermill", {}))


def _last_record(text: bytes) -> Stored | None:
    """Parse only the last record of a notebook, and its metadata; None if that cannot be done.

    No string in JSON contains a line break. So in a notebook that is indented by one space a
    level, as nbformat and Jupyter write it, the spaces after a line break say how deep a key is.
    Parsing everything takes ten times as long, as the outputs have pictures.
    """
    tail = text.rfind(b'\n "metadata": {')
    start = text.rfind(b'\n      "%b": {' % MIME.encode(), 0, max(tail, 0))
    if not text.startswith(b'{\n "cells": [\n') or start < 0:
        return None
    try:
        end = text.index(b"\n      }", start)
        record = json.loads(text[text.index(b"{", start) : end + 8].decode())
        metadata = json.loads(b"{" + text[tail:])["metadata"]
        return Stored(record, *_of_run(metadata), _counts(text))
    except (ValueError, TypeError):
        return None  # the whole notebook shows what is wrong


def _counts(text: bytes) -> list[int | None]:
    """Return the execution count of papermill's cell in a list; [] if there is no such cell.

    Raise ValueError if the cell is there but its count is not where it should be.
    """
    tag = text.find(b'\n     "%b"' % _INSERTED.encode())
    if tag < 0:
        return []
    cell = text.rindex(b"\n  {", 0, tag)
    key = b'\n   "execution_count": '
    start = text.index(key, cell, tag) + len(key)
    return [json.loads(text[start : text.index(b",", start)])]
