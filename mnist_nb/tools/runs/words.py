"""Read YAML in which unquoted values stay words, until a parameter's type says what they are.

So `1e-3` is a number for a parameter that takes numbers and a text for one that takes texts.
Words on the command line are treated alike.
"""

import re
from typing import Any

import yaml

from mnist_nb.errors import ParameterError

MOST_VALUES = 5_000_000  # in one file or word, with what its aliases (*name) repeat
NULLS = ("null", "Null", "NULL", "~", "None")  # the last is Python's
OPENING = ("[", "{", "'", '"')  # a word that starts so is YAML with a list, a mapping or quotes
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}
_INTEGER = re.compile(r"[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.?[0-9]*)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class Text(str):
    """A text that was quoted, so that it is never taken for a number or the like."""


class _Loader(yaml.BaseLoader):
    """Load scalars as `str` (a word), `Text` (quoted) or None, and refuse what is ambiguous."""

    def get_single_data(self) -> Any:
        """Return what the only document of the stream says."""
        node = self.get_single_node()
        if node is None:
            return None
        self.sizes: dict[int, int] = {}
        value = self.construct_document(node)
        if self.sizes[id(node)] > MOST_VALUES:
            raise ParameterError(f"it has more than {MOST_VALUES:,} values; make it shorter")
        return value

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Build a value; raise ParameterError for a tag, such as !!float."""
        if node.tag not in _TAGS:
            line = node.start_mark.line + 1
            raise ParameterError(f"it has the tag {node.tag} (line {line}); leave it out")
        value = super().construct_object(node, deep)
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        inner = [part[1] if isinstance(part, tuple) else part for part in parts]
        self.sizes[id(node)] = 1 + sum(self.sizes[id(part)] for part in inner)
        return value

    def construct_scalar(self, node: yaml.ScalarNode) -> str | None:
        """Build a word, a quoted text, or None."""
        if node.style is not None:
            return Text(node.value)
        return None if node.value in ("", *NULLS[:-1]) else node.value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        """Build a dictionary; raise ParameterError if a key is no scalar, or occurs twice."""
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ParameterError(f"a list or mapping is used as a name (line {line}); "
                                     "a name is one word")  # fmt: skip
            if key.value in found:
                raise ParameterError(f"{key.value!r} is given twice (line {line}); give it once")
            name = key.value if key.style is None else Text(key.value)
            found[name] = self.construct_object(value)
        return found


def load(text: str) -> Any:
    """Return the lists, dictionaries, words, `Text`s and None that the YAML in `text` holds.

    Raises:
        ParameterError: it is not YAML, or ambiguous: a key occurs twice, or a value has a tag.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(f"it is not YAML ({_where_and_why(error)})") from error


def _where_and_why(error: Exception) -> str:
    """Return an error in one line, without the line of YAML and the caret below it."""
    said, mark = str(error), getattr(error, "problem_mark", None)
    if mark:
        said = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(said.split())


def plain(value: Any) -> Any:
    """Return `value` with each word as YAML 1.2 reads it: a number, true, false or a text.

    Raises:
        ParameterError: a number is too large.
    """
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {plain(name): plain(each) for name, each in value.items()}
    if isinstance(value, Text):
        return str(value)
    return _scalar(value) if isinstance(value, str) else value


def _scalar(given: str) -> Any:
    word = given.strip()
    if word in NULLS:
        return None
    if word in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return word.lower() == "true"
    if _SPECIAL.fullmatch(word):
        return float(word.replace(".", ""))
    try:
        if _INTEGER.fullmatch(word):
            return int(word, 0 if "x" in word or "o" in word else 10)
        if _FLOAT.fullmatch(word):
            return finite(word)
    except ValueError as error:  # more than 4,300 digits, say, or 1__0
        raise ParameterError(f"{word[:20]!r} is not a number that can be used") from error
    return given


def finite(word: str) -> float:
    """Return the number that `word` says; raise ValueError if it is too large for a float."""
    number = float(word)
    if number in (float("inf"), float("-inf")) and "inf" not in word.lower():
        raise ValueError(f"{word[:20]} is too large")
    return number
