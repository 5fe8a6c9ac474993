"""Find out whether a notebook's cells read a parameter that is given."""

import ast
import logging
import re
import symtable
from collections.abc import Iterable, Iterator
from enum import Enum

from mnist_nb.errors import ParameterError
from mnist_nb.tools.runs.declared import declared_parameters, is_tagged, parsed
from mnist_nb.tools.runs.languages import is_python

log = logging.getLogger("mnist_nb")


class Fate(Enum):
    """What the code below the cell tagged `parameters` does with a name first."""

    READ = "a cell reads it"
    WRITTEN = "a cell sets it anew"
    IN_DOUBT = "code such as globals() may read it"


# Code that may read any name: calls, and attributes
_CALLS = {"globals", "locals", "vars", "eval", "exec"}
_ATTRIBUTES = {"user_ns", "f_globals", "f_locals"}


def check_read(notebook, names: Iterable[str], insist: bool = False) -> None:
    """Check that cells of `notebook` read the parameters `names`; warn in case of doubt.

    Names that the notebook does not declare are skipped. With `insist`, nothing is checked.

    Raises:
        ParameterError: no cell reads one of them, or a cell sets it anew before one does.
    """
    declared = {} if insist else declared_parameters(notebook) or {}
    names = [name for name in dict.fromkeys(names) if name in declared]
    statements = list(_statements(notebook)) if names else []
    for name in names:
        fate, line = _fate_and_line(statements, name)
        if fate is Fate.IN_DOUBT:
            log.warning("no cell reads %r by its name; it is given all the same, as code like "
                        "globals() or a text with this name may read it", name)  # fmt: skip
        elif fate is not Fate.READ:
            why = f"`{line}` sets it anew before any cell reads it" if fate else (
                "no cell of this notebook reads it")  # fmt: skip
            raise ParameterError(
                f"{name!r} is given, but {why}, so it would change nothing; leave it out, or add "
                "--insist if you know better"
            )


def _statements(notebook) -> Iterator[ast.stmt | str]:
    """Yield the statements of the cells that run after the given values are set.

    Papermill inserts these after the cell tagged `parameters`, so its own code does not use them.
    The source of a cell that is not Python is one text.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [is_tagged(cell, "parameters") for cell in code]
    for cell in code[tagged.index(True) + 1 :]:
        if is_tagged(cell, "injected-parameters"):
            continue  # it stands for the given values
        try:
            yield from parsed(cell.source).body if is_python(notebook) else [cell.source]
        except SyntaxError:
            yield cell.source


def _fate_and_line(statements: list, name: str) -> tuple[Fate | None, str]:
    """Return the fate of a name (None: nothing reads or sets it) and the line that sets it."""
    doubtful = False
    for statement in statements:
        fate = _fate(statement, name)
        if fate is Fate.READ:
            return fate, ""
        doubtful = doubtful or _may_read(statement, name)
        if fate is Fate.WRITTEN and not doubtful:
            line = ast.unparse(statement).splitlines()[0]
            return fate, line if len(line) <= 60 else f"{line[:60]}…"
    return (Fate.IN_DOUBT if doubtful else None), ""


def _fate(statement: ast.stmt | str, name: str) -> Fate | None:
    """Return what a statement does with a name first: read it, or set it in any case."""
    if isinstance(statement, str):
        return Fate.READ if _occurs(statement, name) else None
    match statement:
        case ast.AugAssign(target=ast.Name(id=target)) if target == name:
            return Fate.READ
        case ast.AnnAssign(value=None):
            return None
        case ast.If(test=test, body=body, orelse=orelse):
            ways = [_first_fate(body, name), _first_fate(orelse, name)]
            return _expression_fate([test], name) or _any_read(ways) or (
                Fate.WRITTEN if all(ways) else None
            )  # fmt: skip
        case ast.While(test=test, body=body, orelse=orelse):
            ways = [_first_fate(body, name), _first_fate(orelse, name)]
            return _expression_fate([test], name) or _any_read(ways)
        case ast.For(target=target, iter=values, body=body, orelse=orelse):
            return _expression_fate([values, target], name) or _any_read(
                [_first_fate(body, name), _first_fate(orelse, name)]
            )
        case ast.With(items=items, body=body):
            parts = [part for i in items for part in (i.context_expr, i.optional_vars) if part]
            return _expression_fate(parts, name) or _first_fate(body, name)
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=finalbody):
            ways = [_first_fate(part, name) for part in (body, orelse, finalbody)]
            caught = [_first_fate(handler.body, name) for handler in handlers]
            return _any_read([*ways, *caught]) or (Fate.WRITTEN if all([ways[0], *caught])
                                                   else ways[2])  # fmt: skip
    return _simple_fate(ast.unparse(statement), name)


def _first_fate(statements: list[ast.stmt], name: str) -> Fate | None:
    return next(filter(None, (_fate(statement, name) for statement in statements)), None)


def _any_read(fates: list[Fate | None]) -> Fate | None:
    return Fate.READ if Fate.READ in fates else None


def _expression_fate(parts: list[ast.expr], name: str) -> Fate | None:
    """Return what expressions and targets, evaluated in this order, do with a name first."""
    for part in parts:
        is_target = isinstance(getattr(part, "ctx", None), ast.Store)
        code = ast.unparse(part)
        if fate := _simple_fate(f"{code} = 0" if is_target else code, name):
            return fate
    return None


def _simple_fate(code: str, name: str) -> Fate | None:
    """Return whether a simple statement reads a name, also in functions in it, or sets it."""
    if not _occurs(code, name):
        return None
    if "get_ipython()" in code:  # a magic or a !command, which may use {name} or $name
        return Fate.READ
    try:
        table = symtable.symtable(code, "cell", "exec")
    except SyntaxError:  # such as `return` outside a function
        return Fate.READ
    if _is_read_in(table, name):
        return Fate.READ
    own = [symbol for symbol in table.get_symbols() if symbol.get_name() == name]
    return Fate.WRITTEN if any(s.is_assigned() or s.is_imported() for s in own) else None


def _is_read_in(table: symtable.SymbolTable, name: str) -> bool:
    """Return whether the code of a scope, or of one in it, reads the global `name`."""
    for symbol in table.get_symbols():
        if symbol.get_name() == name and symbol.is_referenced():
            return table.get_type() != "function" or symbol.is_global()
    return any(_is_read_in(inner, name) for inner in table.get_children())


def _may_read(statement: ast.stmt | str, name: str) -> bool:
    """Return whether a statement has code that may read any name, or a text with this one."""
    for node in ast.walk(statement) if isinstance(statement, ast.stmt) else ():
        match node:
            case ast.Call(func=ast.Name(id=called), args=args, keywords=keywords):
                if called in _CALLS and not (called == "vars" and (args or keywords)):
                    return True
            case ast.Attribute(attr=attribute) if attribute in _ATTRIBUTES:
                return True
            case ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[magic, *_]):
                if getattr(magic, "value", "") == "run":
                    return True
            case ast.Constant(value=str(text)) if _occurs(text, name):
                return True
    return False


def _occurs(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text) is not None
