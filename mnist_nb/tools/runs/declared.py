"""Read a notebook's parameters: names, types, defaults, and the function that checks them.

Runs and sweeps use it to convert and check values; `make docs` uses it for the table.
"""

import ast
import contextlib
import difflib
import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mnist_nb.errors import NotHereError, ParameterError


class Declared(NamedTuple):
    """A declared parameter: its annotation as text ("" if none) and its default value."""

    annotation: str
    default: Any


def declared_parameters(notebook) -> dict[str, Declared] | None:
    """Return name -> declaration from the cell tagged `parameters`, or None without such a cell.

    Raises:
        ParameterError: two cells have the tag, or the cell is not valid IPython code.
    """
    tagged = [cell for cell in notebook.cells if _is_tagged(cell, "parameters")]
    if not tagged:
        return None
    if len(tagged) > 1 or tagged[0].cell_type != "code":
        raise ParameterError(
            "this notebook has more than one cell tagged 'parameters', or one that is not code; "
            "tag only the code cell with the default values"
        )
    found = {}
    for node in _parsed(tagged[0].source).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            target, annotation = node.target, ast.unparse(node.annotation)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, annotation = node.targets[0], ""
        else:
            continue
        try:
            found[target.id] = Declared(annotation, ast.literal_eval(node.value))
        except (ValueError, AttributeError):  # a computed value, or no plain name
            continue
    return found


def _is_tagged(cell, tag: str) -> bool:
    return tag in (cell.metadata.get("tags") or [])


# cell magics that run the rest of the cell in the notebook's namespace
_IN_PLACE = re.compile(r"\s*%%(time|capture|prun)\b.*")


def _parsed(source: str) -> ast.Module:
    """Parse a cell that may contain magics, `!commands` and `name?`."""
    try:
        return ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager  # slow to import

        try:
            return ast.parse(TransformerManager().transform_cell(_IN_PLACE.sub("", source, 1)))
        except SyntaxError as error:
            raise ParameterError(
                f"the cell tagged 'parameters' is not Python ({error.msg} in line "
                f"{error.lineno}); fix it and try again"
            ) from error


def names_read(notebook) -> set[str]:
    """Return the names that code cells after the cell tagged `parameters` read.

    Papermill inserts the given values after that cell, so its own code does not use them.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [_is_tagged(cell, "parameters") for cell in code]
    found = set()
    for cell in code[tagged.index(True) + 1 :]:
        try:
            nodes = ast.walk(ast.parse(cell.source))
        except SyntaxError:  # IPython syntax: take all names
            found |= set(re.findall(r"[^\W\d]\w*", cell.source))
            continue
        found |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return found


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


def read_values(notebook, given: Mapping[str, str]) -> dict[str, Any]:
    """Convert the strings in `given` to the types that `notebook` declares.

    Raises:
        ParameterError: the notebook has no such parameter, a string does not fit its type,
            the notebook's own check rejects a value, or no cell reads the parameter.
    """
    return reader(notebook)(given)


def reader(notebook, elsewhere: bool = False) -> Callable[[Mapping[str, str]], dict[str, Any]]:
    """Return a function like `read_values` for `notebook`, which is then parsed only once.

    With `elsewhere`, it accepts what this machine lacks, such as a card.
    """
    declared = declared_parameters(notebook)
    read = set() if declared is None else names_read(notebook)
    check = named_checker(notebook)
    defaults = {name: d.default for name, d in (declared or {}).items()}
    is_result = any(_is_tagged(cell, "injected-parameters") for cell in notebook.cells)

    def values_of(given: Mapping[str, str]) -> dict[str, Any]:
        if declared is None and given:
            raise ParameterError("this notebook has no cell tagged 'parameters', so it takes no "
                                 "parameters; tag the cell with their defaults")  # fmt: skip
        if given and is_result:
            raise ParameterError(
                "this notebook is the result of a run, so its parameters would be lost; run the "
                "original notebook instead, and give all parameters"
            )
        values = {}
        for name, word in given.items():
            if name not in declared:
                near = difflib.get_close_matches(name, declared, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(declared)}"
                raise ParameterError(f"{name!r} is not a parameter of this notebook; {hint}")
            values[name] = _value(name, word, declared[name], check)
        for name in given:
            if name not in read:
                raise ParameterError(
                    f"{name!r} is given, but no cell of this notebook reads it, so it would "
                    "change nothing; leave it out"
                )
        if check:
            with contextlib.suppress(NotHereError if elsewhere else ()):
                check(defaults | values)
        return values

    return values_of


def word_reader(notebook) -> Callable[[str, str], Any]:
    """Return a function that converts a parameter's string (name, string) to its type."""
    declared, check = declared_parameters(notebook) or {}, named_checker(notebook)

    def value(name: str, word: str) -> Any:
        return _value(name, word, declared[name], check) if name in declared else word

    return value


_READERS = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (lambda word: {"true": True, "false": False}[word.lower()], "True or False"),
    "str": (str, "a text"),
}


def _value(name: str, word: str, declared: Declared, check: Callable | None) -> Any:
    """Convert `word` to the declared type, or else to the type of the default."""
    kinds = {part.strip() for part in declared.annotation.split("|")} - {""}
    if not kinds and declared.default is not None:
        kinds = {type(declared.default).__name__}
    if "None" in kinds and word == "None":
        return None
    known = [kind for kind in _READERS if kind in kinds]
    if not known:  # a list, for example, or no type at all
        try:
            return ast.literal_eval(word)
        except (ValueError, SyntaxError):
            return word
    for kind in known:
        try:
            return _READERS[kind][0](word)
        except (ValueError, KeyError):
            continue
    if check:
        check({name: word})  # its error is more specific than ours
    raise ParameterError(f"{name} is {word!r}; it takes {_READERS[known[0]][1]}")
