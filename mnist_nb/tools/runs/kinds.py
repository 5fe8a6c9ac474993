"""Find the types of parameters: what their annotations or defaults say, and that in words.

A type is as in `typing`: int, list[int], Literal['a', 'b'], int | None. Any stands for those that
are not known here. `fitting` converts values to them.
"""

import ast
import functools
import operator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_NAMES = {
    "int": int, "float": float, "bool": bool, "str": str, "None": NoneType, "Path": Path,
    "list": list, "List": list, "Sequence": list, "Iterable": list, "Collection": list,
    "dict": dict, "Dict": dict, "Mapping": dict, "tuple": tuple, "Tuple": tuple,
}  # fmt: skip
_SYNTAX = {ast.List: list, ast.Dict: dict, ast.Tuple: tuple, ast.JoinedStr: str}
_MODULES = ("typing", "t", "pathlib", "collections.abc", "abc", "builtins")


def type_of(annotation: ast.expr) -> Any:
    """Return the type that an annotation names, or Any if it is not one that is known here."""
    match annotation:
        case ast.Constant(value=None):
            return NoneType
        case ast.Constant(value=str(quoted)):
            try:
                return type_of(ast.parse(quoted.strip(), mode="eval").body)
            except (SyntaxError, ValueError):
                return Any
        case ast.Name() | ast.Attribute():
            return _NAMES.get(_last_name(annotation), Any)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return type_of(left) | type_of(right)
        case ast.Subscript(value=outer, slice=ast.Tuple(elts=items)):
            return _subscripted(_last_name(outer), items)
        case ast.Subscript(value=outer, slice=item):
            return _subscripted(_last_name(outer), [item])
    return Any


def _last_name(node: ast.expr) -> str:
    """Return the name of a type without its module: Optional for typing.Optional."""
    module, _, name = ast.unparse(node).rpartition(".")
    return name if not module or module in _MODULES else ""


def _subscripted(outer: str, items: list[ast.expr]) -> Any:
    if outer == "Literal":
        try:
            return Literal[tuple(ast.literal_eval(item) for item in items)]
        except ValueError:  # such as a member of an Enum
            return Any
    if outer in ("Annotated", "Final"):
        return type_of(items[0])
    inner = [type_of(item) for item in items]
    if outer in ("Union", "Optional"):
        return functools.reduce(operator.or_, inner + [NoneType] * (outer == "Optional"))
    known = _NAMES.get(outer)
    if known is list and len(inner) == 1:
        return list[inner[0]]
    if known is dict and len(inner) == 2:
        return dict[*inner]
    if known is tuple:
        many = len(items) == 2 and ast.unparse(items[1]) == "..."
        return tuple[inner[0], ...] if many else tuple[*inner]
    return Any


def type_of_computed(source: str) -> Any:
    """Return the type of a default that is not a literal, such as Path('x'), or Any."""
    node = ast.parse(source, mode="eval").body if source else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Mult):
        node = node.left  # Path('x') / 'y', [0] * 3
    if isinstance(node, ast.Subscript):
        node = ast.Call(node.value, [], [])  # os.environ['x']
    for syntax, kind in _SYNTAX.items():
        if isinstance(node, syntax):
            return kind
    called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    if called in ("os.environ.get", "os.environ", "os.getenv", "environ.get", "getenv"):
        return str
    if called in ("Path.cwd", "Path.home", "pathlib.Path"):
        return Path
    return _NAMES.get(called, Any)


_SAID = {
    NoneType: "None", bool: "True or False", int: "a whole number", float: "a number",
    str: "a text", Path: "a path", list: "a list like [1, 2]", tuple: "a list like [1, 2]",
    dict: "names with values, like {a: 1}",
    Any: "a value in YAML, such as 1, word, [1, 2], {a: 1} or '[text]'",
}  # fmt: skip


def in_words(kind: Any) -> str:
    """Return what a parameter of type `kind` takes, in words."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        ordered = sorted(parts, key=lambda part: part is not NoneType)
        return " or ".join(dict.fromkeys(map(in_words, ordered)))
    if origin is Literal:
        return "one of " + ", ".join(map(repr, parts))
    said = _SAID.get(origin, _SAID[Any])
    if not parts or all(part is Any for part in parts):
        return said
    if origin is dict:
        return f"{said}, of which each name is {in_words(parts[0])} and each value is " + (
            in_words(parts[1])
        )
    if parts[-1] is ... or origin is list:
        return f"{said}, in which each value is {in_words(parts[0])}"
    return f"a list of {len(parts)}: {', then '.join(map(in_words, parts))}"
