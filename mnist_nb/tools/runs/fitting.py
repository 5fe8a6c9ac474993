"""Convert words and values to the types that a notebook declares, or say that they do not fit."""

from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mnist_nb.tools.runs.words import NULLS, OPENING, Text, finite, load, plain


class Misfit(ValueError):
    """A value does not have the declared type."""


class PathText(str):
    """The text of a path that a notebook takes as a `pathlib.Path`."""


def fit(value: Any, kind: Any) -> Any:
    """Return `value`, which may hold words, as a value of the type `kind`; else raise Misfit."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return _first_fit(value, sorted(parts, key=_rank))
    if origin is Literal:
        return _choice(value, parts)
    try:
        return _FITTERS.get(origin, _any)(value, parts)
    except (ValueError, OverflowError, RecursionError) as error:
        raise Misfit(str(error)) from error


def _rank(kind: Any) -> int:
    """Return where a type stands in the order in which those of a union are tried."""
    order = [NoneType, Literal, list, tuple, dict, int, float, bool, Path, str]
    origin = get_origin(kind) or kind
    return order.index(origin) if origin in order else len(order)


def _first_fit(value: Any, kinds: list) -> Any:
    for kind in kinds:
        try:
            return fit(value, kind)
        except Misfit:
            continue
    raise Misfit


def _choice(value: Any, choices: tuple) -> Any:
    for choice in choices:
        try:
            if fit(value, type(choice)) == choice:
                return choice
        except Misfit:
            continue
    raise Misfit


def _any(value: Any, parts: tuple) -> Any:
    value = _unpacked(value, OPENING)
    if isinstance(value, dict):
        return _dict(value, ())
    return [_any(each, ()) for each in value] if isinstance(value, list) else plain(value)


def _unpacked(value: Any, opening: tuple[str, ...]) -> Any:
    """Return what a word that begins with one of `opening` says in YAML; else `value` itself."""
    return load(value) if _is_word(value) and value.startswith(opening) else value


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Text)


def _none(value: Any, parts: tuple) -> None:
    if value is not None and not (_is_word(value) and value in NULLS):
        raise Misfit


def _bool(value: Any, parts: tuple) -> bool:
    if _is_word(value) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise Misfit
    return value


def _int(value: Any, parts: tuple) -> int:
    if _is_word(value):
        read = plain(value)  # for 0x10
        value = read if isinstance(read, int) else int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Misfit
    return value


def _float(value: Any, parts: tuple) -> float:
    if _is_word(value):
        read = plain(value)
        value = read if isinstance(read, float | int) else finite(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Misfit
    return float(value)


def _str(value: Any, parts: tuple) -> str:
    if not isinstance(value, str):
        raise Misfit
    return str(value)


def _path(value: Any, parts: tuple) -> PathText:
    if not isinstance(value, str | Path):
        raise Misfit
    return PathText(value)


def _items(value: Any) -> list | tuple:
    value = _unpacked(value, ("[",))
    if not isinstance(value, list | tuple):
        raise Misfit
    return value


def _list(value: Any, parts: tuple) -> list:
    return [fit(each, parts[0] if parts else Any) for each in _items(value)]


def _tuple(value: Any, parts: tuple) -> tuple:
    items = _items(value)
    if not parts or parts[-1] is ...:
        parts = (parts[0] if parts else Any,) * len(items)
    if len(items) != len(parts):
        raise Misfit
    return tuple(fit(each, part) for each, part in zip(items, parts, strict=True))


def _dict(value: Any, parts: tuple) -> dict:
    value = _unpacked(value, ("{",))
    if not isinstance(value, dict):
        raise Misfit
    of_names, of_values = parts or (Any, Any)
    found = {fit(name, of_names): fit(each, of_values) for name, each in value.items()}
    if len(found) < len(value) or len({type(name) for name in found}) > 1:
        raise Misfit  # 1 and 01 are the same name; a record cannot sort 1 and a
    return found


_FITTERS: dict[Any, Callable[[Any, tuple], Any]] = {
    NoneType: _none, bool: _bool, int: _int, float: _float, str: _str, Path: _path,
    list: _list, tuple: _tuple, dict: _dict,
}  # fmt: skip
