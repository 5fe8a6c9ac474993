"""Say what is wrong with a record, and what helps."""

import json
import math
from typing import Any

from mnist_nb.record import NOT_FINITE, SCHEMA

CORRECT = "correct what the notebook gives to show_record, and run it again"
_STRICT = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


def wrong_with(record: Any, machine: dict) -> str:
    """Return what is wrong with `record` and what to do; "" if it is as `show_record` writes it.

    It has to be strict JSON, and so does `machine`, the metadata of its notebook.
    """
    try:
        if record["schema"] != SCHEMA:
            return (f"its record is of a different version of mnist-nb (schema "
                    f"{brief(record['schema'])}, not {SCHEMA}); run it again")  # fmt: skip
        if wrong := _wrong_with_history(record["history"]):
            return f"{wrong}; {CORRECT}"
        _STRICT.encode([record, machine]).encode()
        whole = isinstance(record["notebook"], str) and isinstance(record["parameters"], dict)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        whole = False
    return "" if whole else "its record is not complete; run it again"


def _wrong_with_history(history: list[dict[str, Any]]) -> str:
    """Return which value of which epoch is no number, or that epochs are missing, or ""."""
    epochs = [row.get("epoch") for row in history]
    if not epochs:
        return "its history has no epoch"
    if epochs != list(range(1, len(epochs) + 1)):
        said = ", ".join([*map(brief, epochs[:6]), *["…"] * (len(epochs) > 6)])
        return f"the epochs of its history are {said}, and have to count from 1"
    for epoch, row in enumerate(history, start=1):
        for name, value in row.items():
            if not _is_number(value):
                return f"{brief(name)} is {_repr(value)} in epoch {epoch}, not a number"
    return ""


def _is_number(value: Any) -> bool:
    """Return whether a history can have this value; null is from older records."""
    if value is None or (isinstance(value, str) and value in NOT_FINITE):
        return True
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # past the largest float
        return False


def brief(value: Any) -> str:
    """Return a name or a value as a short text on one line."""
    plain = isinstance(value, str) and value.isprintable() and value
    return _cut(value) if plain else _repr(value)


def _repr(value: Any) -> str:
    return _cut(repr(value))


def _cut(said: str) -> str:
    return said if len(said) <= 40 else f"{said[:39]}…"
