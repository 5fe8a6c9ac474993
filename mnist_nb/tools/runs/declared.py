"""Read what a notebook declares: its parameters, and the function that checks them.

Runs and sweeps use it to convert and check values; `make docs` uses it for the table.
"""

import ast
import importlib
import json
import operator
import re
import symtable
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mnist_nb.errors import ParameterError
from mnist_nb.tools.runs.languages import assigned_names, is_python


class Computed(NamedTuple):
    """A default that only the notebook can compute, such as Path('x'): its source, or ""."""

    source: str


class Declared(NamedTuple):
    """A declared parameter: its annotation as text ("" if none) and its default value."""

    annotation: str
    default: Any


def declared_parameters(notebook) -> dict[str, Declared] | None:
    """Return name -> declaration from the cell tagged `parameters`, or None without such a cell.

    Every name that the cell assigns is a parameter, as papermill's values replace it afterwards.

    Raises:
        ParameterError: two cells have the tag, or the cell is not valid IPython code.
    """
    tagged = [cell for cell in notebook.cells if is_tagged(cell, "parameters")]
    if not tagged:
        return None
    if len(tagged) > 1 or tagged[0].cell_type != "code":
        raise ParameterError(
            "this notebook has more than one cell tagged 'parameters', or one that is not code; "
            "tag only the code cell with the default values"
        )
    if not is_python(notebook):
        return {name: Declared("", Computed("")) for name in assigned_names(tagged[0].source)}
    found: dict[str, Declared] = {}
    try:
        for statement in parsed(tagged[0].source).body:
            for name, annotation, value in _assigned(statement):
                before = found[name].annotation if name in found else ""
                found[name] = Declared(annotation or before, _default(value))
    except SyntaxError as error:
        raise ParameterError(
            f"the cell tagged 'parameters' is not Python ({error.msg} in line "
            f"{error.lineno}); fix it and try again"
        ) from error
    return found


def defaults_of(notebook) -> dict[str, Any]:
    """Return name -> default of the parameters of `notebook`, without `Computed` ones."""
    declared = declared_parameters(notebook) or {}
    return {n: d.default for n, d in declared.items() if not isinstance(d.default, Computed)}


def is_tagged(cell, tag: str) -> bool:
    """Return whether a cell has a tag."""
    return tag in (cell.metadata.get("tags") or [])


# cell magics that run the rest of the cell in the notebook's namespace
_IN_PLACE = re.compile(r"\s*%%(time|capture|prun)\b.*")


def parsed(source: str) -> ast.Module:
    """Parse a cell that may contain magics, `!commands` and `name?`.

    Raises:
        SyntaxError: it is neither Python nor IPython code.
    """
    try:
        return ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager  # slow to import

        return ast.parse(TransformerManager().transform_cell(_IN_PLACE.sub("", source, 1)))


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, str, ast.expr | None]]:
    """Yield (name, annotation, value or None) of the names that a statement assigns."""
    if isinstance(statement, ast.AnnAssign):
        if isinstance(statement.target, ast.Name):
            yield statement.target.id, ast.unparse(statement.annotation), statement.value
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from ((name, "", value) for name, value in _pairs(target, statement.value))
    else:  # such as `if …:` or `+=`
        for symbol in symtable.symtable(ast.unparse(statement), "", "exec").get_symbols():
            if symbol.is_assigned() and not (symbol.is_namespace() or symbol.is_imported()):
                yield symbol.get_name(), "", None


def _pairs(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield (name, value) for a target such as `a` or `a, b`.

    The value is None if it cannot be told which part of the right side a name gets.
    """
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Starred):
        yield from _pairs(target.value, None)
    elif isinstance(target, ast.Tuple | ast.List):
        values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
        if len(values) != len(target.elts) or any(isinstance(t, ast.Starred)
                                                  for t in (*target.elts, *values)):  # fmt: skip
            values = [None] * len(target.elts)
        for each, its in zip(target.elts, values, strict=True):
            yield from _pairs(each, its)


_OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Pow: operator.pow, ast.LShift: operator.lshift, ast.RShift: operator.rshift,
    ast.BitOr: operator.or_, ast.BitAnd: operator.and_, ast.BitXor: operator.xor,
    ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Invert: operator.invert,
}  # fmt: skip
_LONGEST = 10_000  # bits of a number that is computed here


def _default(value: ast.expr | None) -> Any:
    if value is None:
        return Computed("")
    try:
        found = _evaluated(value)
        json.dumps(found, sort_keys=True, default=repr)  # as the key of a run does
        return found
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        return Computed(ast.unparse(value))


def _evaluated(node: ast.expr) -> Any:
    """Return the value of a literal, or of arithmetic with numbers; else raise ValueError."""
    match node:
        case ast.List(elts=items):
            return [_evaluated(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_evaluated(item) for item in items)
        case ast.Dict(keys=names, values=values) if None not in names:
            pairs = zip(names, values, strict=True)
            return {_evaluated(name): _evaluated(each) for name, each in pairs}
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_number(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            a, b = _number(left), _number(right)
            grows = isinstance(op, ast.Pow | ast.LShift) and isinstance(a, int)
            if grows and abs(b) * (a.bit_length() if isinstance(op, ast.Pow) else 1) > _LONGEST:
                raise ValueError("too long a number")
            return _OPERATORS[type(op)](a, b)
    return ast.literal_eval(node)


def _number(node: ast.expr) -> int | float:
    value = _evaluated(node)
    if not isinstance(value, int | float):
        raise ValueError("not a number")
    return value


# a function of a module in mnist_nb itself, not of mnist_nb.tools or another package
_CHECKER = re.compile(r"mnist_nb\.(?!tools:)\w+:\w+", re.ASCII)


def named_checker(notebook) -> Callable[[Mapping[str, Any]], Any] | None:
    """Return the function that checks the parameters of `notebook`, or None if it names none.

    A cell's metadata names it: {"mnist_nb": {"checks": "mnist_nb.parameters:check_parameters"}}.

    Raises:
        ParameterError: the name is not that of a function in one of `mnist_nb`'s own modules.
    """
    for cell in notebook.cells:
        own = cell.metadata.get("mnist_nb")
        if not isinstance(own, Mapping) or "checks" not in own:
            continue
        named = own["checks"]
        module, _, name = named.partition(":") if isinstance(named, str) else ("", "", "")
        try:
            if _CHECKER.fullmatch(str(named)):
                function = getattr(importlib.import_module(module), name)
                if callable(function):
                    return function
        except (ImportError, AttributeError):
            pass
        raise ParameterError(
            f"this notebook's metadata names {named!r} to check its parameters; name a function "
            "of this package, such as 'mnist_nb.parameters:check_parameters'"
        )
    return None
