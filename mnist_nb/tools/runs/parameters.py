"""The parameters of the notebooks: what each takes, and one sentence when it does not."""

import ast
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mnist_nb.data import DATASETS
from mnist_nb.errors import ParameterError

TRAINING_IMAGES = 60_000
DEVICES = ("cpu", "cuda", "mps", "auto")


class Rule(NamedTuple):
    """What a parameter takes: in words, as a test, and as the type it is kept as."""

    words: str
    holds: Callable[[Any], bool]
    kept_as: Callable[[Any], Any] = lambda value: value


def _whole(low: int, high: int, words: str) -> Rule:
    return Rule(
        f"a whole number{words}",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high,
    )


def _number(words: str, holds: Callable[[float], bool]) -> Rule:
    return Rule(
        f"a number {words}",
        lambda v: isinstance(v, int | float) and not isinstance(v, bool) and holds(v),
        float,
    )


def _one_of(*choices: str) -> Rule:
    return Rule("one of " + ", ".join(map(repr, choices)), lambda v: v in choices)


_SWITCH = Rule("True or False", lambda v: isinstance(v, bool))

RULES = {
    "seed": _whole(-(2**63), 2**64 - 1, " that fits in 64 bits"),
    "dataset": _one_of(*DATASETS),
    "data_dir": Rule(
        "None or the path of a folder",
        lambda v: v is None or (isinstance(v, str) and v.isprintable() and v != ""),
    ),
    "train_size": _whole(1, TRAINING_IMAGES, f" from 1 to {TRAINING_IMAGES:,}"),
    "val_size": _whole(1, TRAINING_IMAGES, f" from 1 to {TRAINING_IMAGES:,}"),
    "batch_size": _whole(1, TRAINING_IMAGES, f" from 1 to {TRAINING_IMAGES:,}"),
    "shuffle": _SWITCH,
    "hidden": _whole(1, 10_000, " from 1 to 10,000"),
    "dropout": _number("from 0 up to, but not including, 1", lambda v: 0 <= v < 1),
    "lr": _number("greater than 0 and below 3.4e38", lambda v: 0 < v < 3.4e38),
    "epochs": _whole(1, 100_000, " from 1 to 100,000"),
    "eval_mode": _SWITCH,
    "preload": _SWITCH,
    "device": _one_of(*DEVICES),
    "num_threads": _whole(1, 256, " from 1 to 256"),
}


def check_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters among `values`, checked.

    Names that are no parameter are passed over, so a notebook gives its
    `globals()`. A whole number given for a float is kept as a float.

    Raises:
        ParameterError: a value is not what its parameter takes; one sentence.
    """
    checked = {}
    for name, rule in RULES.items():
        if name in values:
            if not rule.holds(values[name]):
                raise ParameterError(f"{name} is {values[name]!r}; it takes {rule.words}")
            checked[name] = rule.kept_as(values[name])
    train, val = checked.get("train_size", 0), checked.get("val_size", 0)
    if train + val > TRAINING_IMAGES:
        raise ParameterError(
            f"train_size is {train} and val_size is {val}, together {train + val:,}; "
            f"there are {TRAINING_IMAGES:,} images to split, so make one of them smaller"
        )
    if train and checked.get("batch_size", 0) > train:
        raise ParameterError(
            f"batch_size is {checked['batch_size']}; it takes a whole number "
            f"from 1 to train_size, which is {train}"
        )
    if checked.get("device", "cpu") not in ("cpu", "auto"):
        _check_device(checked["device"])
    return checked


def _check_device(device: str) -> None:
    import torch  # slow to import, so only where it is needed

    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if not there[device]():
        raise ParameterError(
            f"device is {device!r}, and this machine has none that torch can use; "
            "take 'cpu', or 'auto' for the best there is"
        )


def pick_device(device: str) -> str:
    """`device` itself, or for "auto" the best that this machine has."""
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class Declared(NamedTuple):
    """A parameter as a notebook declares it: its annotation as text ("" if none), its default."""

    annotation: str
    default: Any


def declared_parameters(notebook) -> dict[str, Declared] | None:
    """Return name -> declaration, from the cell tagged `parameters`; None without such a cell.

    Raises:
        ParameterError: that cell is not Python, even as IPython understands it.
    """
    tagged = [cell for cell in notebook.cells if _is_tagged(cell, "parameters")]
    if not tagged:
        return None
    if len(tagged) > 1 or tagged[0].cell_type != "code":
        raise ParameterError(
            "this notebook has more than one cell tagged 'parameters', or one that is not code; "
            "tag the one code cell that gives them their defaults"
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
        except (ValueError, AttributeError):  # computed, or not a plain name
            continue
    return found


def _is_tagged(cell, tag: str) -> bool:
    return tag in (cell.metadata.get("tags") or [])


# cell magics that run what follows them in the notebook's own names
_IN_PLACE = re.compile(r"\s*%%(time|capture|prun)\b.*")


def _parsed(source: str) -> ast.Module:
    """Parse a cell that may hold magics, `!commands` and `questions?`."""
    try:
        return ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager  # slow to import

        try:
            return ast.parse(TransformerManager().transform_cell(_IN_PLACE.sub("", source, 1)))
        except SyntaxError as error:
            raise ParameterError(
                f"the cell tagged 'parameters' is not Python ({error.msg} in line "
                f"{error.lineno}); correct it, and try again"
            ) from error


def names_read(notebook) -> set[str]:
    """The names that the code cells after the one tagged `parameters` read.

    Papermill puts the given values behind that cell, so what it computes itself is not
    changed by them.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [_is_tagged(cell, "parameters") for cell in code]
    found = set()
    for cell in code[tagged.index(True) + 1 :]:
        try:
            nodes = ast.walk(ast.parse(cell.source))
        except SyntaxError:  # IPython's own language: whatever it names
            found |= set(re.findall(r"[^\W\d]\w*", cell.source))
            continue
        found |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return found


def read_values(notebook, given: Mapping[str, str]) -> dict[str, Any]:
    """The `given` words as values of the types that `notebook` declares.

    Raises:
        ParameterError: a name that the notebook does not have, or a word that
            is not of its type, or a value that the notebook itself would refuse,
            or a name that no cell reads.
    """
    return reader(notebook)(given)


def reader(notebook) -> Callable[[Mapping[str, str]], dict[str, Any]]:
    """Return `read_values` for `notebook`, which is parsed once for any number of calls."""
    declared = declared_parameters(notebook)
    read = set() if declared is None else names_read(notebook)
    checks = any("check_parameters" in c.source for c in notebook.cells if c.cell_type == "code")
    defaults = {name: d.default for name, d in (declared or {}).items()}
    is_result = any(_is_tagged(cell, "injected-parameters") for cell in notebook.cells)

    def values_of(given: Mapping[str, str]) -> dict[str, Any]:
        if declared is None and given:
            raise ParameterError("this notebook has no cell tagged 'parameters', so it takes none")
        if given and is_result:
            raise ParameterError(
                "this notebook is the result of a run, whose parameters would be lost; give the "
                "notebook that was run, with all of them"
            )
        values = {}
        for name, word in given.items():
            if name not in declared:
                near = difflib.get_close_matches(name, declared, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(declared)}"
                raise ParameterError(f"{name!r} is not a parameter of this notebook; {hint}")
            values[name] = _value(name, word, declared[name])
        for name in given:
            if name not in read:
                raise ParameterError(
                    f"{name!r} is given, but no cell of this notebook reads it, so it would "
                    "change nothing; leave it out"
                )
        if checks:
            check_parameters(defaults | values)
        return values

    return values_of


def word_reader(notebook) -> Callable[[str, str], Any]:
    """Return a function that reads the word given for a name as the type `notebook` declares."""
    declared = declared_parameters(notebook) or {}
    return lambda name, word: _value(name, word, declared[name]) if name in declared else word


_READERS = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (lambda word: {"true": True, "false": False}[word.lower()], "True or False"),
    "str": (str, "a text"),
}


def _value(name: str, word: str, declared: Declared) -> Any:
    """`word` as the type that is declared, or as that of the default."""
    kinds = {part.strip() for part in declared.annotation.split("|")} - {""}
    if not kinds and declared.default is not None:
        kinds = {type(declared.default).__name__}
    if "None" in kinds and word == "None":
        return None
    known = [kind for kind in _READERS if kind in kinds]
    if not known:  # a list, say, or nothing that tells
        try:
            return ast.literal_eval(word)
        except (ValueError, SyntaxError):
            return word
    for kind in known:
        try:
            return _READERS[kind][0](word)
        except (ValueError, KeyError):
            continue
    words = RULES[name].words if name in RULES else _READERS[known[0]][1]
    raise ParameterError(f"{name} is {word!r}; it takes {words}")
