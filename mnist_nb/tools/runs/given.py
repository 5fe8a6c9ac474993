"""Convert and check the values that are given for a notebook's parameters."""

import ast
import contextlib
import difflib
from collections.abc import Callable, Mapping
from typing import Any

from mnist_nb.errors import NotHereError, ParameterError
from mnist_nb.tools.runs.declared import (
    Computed,
    Declared,
    declared_parameters,
    defaults_of,
    is_tagged,
    named_checker,
)
from mnist_nb.tools.runs.fitting import Misfit, fit
from mnist_nb.tools.runs.kinds import in_words, type_of, type_of_computed
from mnist_nb.tools.runs.words import Text, plain


def read_values(notebook, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words and values in `given` as values of the types that `notebook` declares.

    Raises:
        ParameterError: the notebook has no such parameter, a value does not fit its type, or the
            notebook's own check rejects it.
    """
    return reader(notebook)(given)


def reader(notebook, elsewhere: bool = False) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return a function like `read_values` for `notebook`, which is then parsed only once.

    With `elsewhere`, it accepts what this machine lacks, such as a card.
    """
    declared, check = declared_parameters(notebook), named_checker(notebook)
    defaults = defaults_of(notebook)
    value_of = word_reader(notebook)
    is_result = any(is_tagged(cell, "injected-parameters") for cell in notebook.cells)

    def values_of(given: Mapping[str, Any]) -> dict[str, Any]:
        if declared is None and given:
            raise ParameterError("this notebook has no cell tagged 'parameters', so it takes no "
                                 "parameters; tag the cell with their defaults")  # fmt: skip
        if given and is_result:
            raise ParameterError(
                "this notebook is the result of a run, so its parameters would be lost; run the "
                "original notebook instead, and give all parameters"
            )
        for name in given:
            if name not in declared:
                near = difflib.get_close_matches(name, declared, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(declared)}"
                raise ParameterError(f"{name!r} is not a parameter of this notebook; {hint}")
        values = {name: value_of(name, value) for name, value in given.items()}
        if check:
            with contextlib.suppress(NotHereError if elsewhere else ()):
                check(defaults | values)
        return values

    return values_of


def word_reader(notebook) -> Callable[[str, Any], Any]:
    """Return a function (name, word or value) that converts a value to its parameter's type.

    It raises ParameterError for a value that does not have that type.
    """
    declared, check = declared_parameters(notebook) or {}, named_checker(notebook)
    kinds = {name: _kind(declaration) for name, declaration in declared.items()}

    def value_of(name: str, value: Any) -> Any:
        kind = kinds.get(name, Any)
        try:
            return fit(value, kind)
        except Misfit as error:
            if check and name in kinds:
                check({name: value})  # its error is more specific than ours
            raise ParameterError(f"{name} is {_said(value)}; it takes {in_words(kind)}") from error

    return value_of


def _kind(declared: Declared) -> Any:
    """Return the type of a parameter: that of its annotation, or else of its default."""
    default = declared.default
    if declared.annotation:
        kind = type_of(ast.parse(declared.annotation, mode="eval").body)
        return kind if default is not None or kind is Any else kind | None
    if isinstance(default, Computed):
        return type_of_computed(default.source)
    known = (bool, int, float, str, list, tuple, dict)
    return type(default) if type(default) in known else Any


def _said(value: Any) -> str:
    """Return a value as a message shows it."""
    if isinstance(value, str):
        said = f"the text {value!r}" if isinstance(value, Text) else repr(value)
    else:
        try:
            said = repr(plain(value))
        except (ParameterError, RecursionError):
            said = repr(value)
    return said if len(said) <= 200 else f"{said[:200]}…"
