"""Numbers in a notebook's text: each is one that its code or its outputs show.

A number may be read more coarsely than it is printed (0.2866 as 0.29), as a percentage (0.925 as
92.5 %), with commas, and without its sign. One that stands nowhere else is a constant, such as a
size of MNIST or a fact from a paper: the cell's metadata lists it as it is spelled,
{"mnist_nb": {"constants": ["60,000"]}}. Not looked at: whole numbers up to 12, years, minutes and
seconds, numbers with a leading zero (chapters), versions and dates, what is part of a word
(SHA-256, 20th), links, and what follows the words in `_LABELS`.
"""

import re
from collections.abc import Iterator
from decimal import Decimal

import nbformat

_SMALL = 12  # whole numbers up to this are counts that people do in their head
_LABELS = "chapters?|section|exercises?|cell|line|figure|table|page|seed|In \\["
_NUMBER = re.compile(
    rf"(?<![\w.,])(?<![A-Za-z]-)(?<!\d[-:])(?P<label>\b(?:{_LABELS})\s*)?"
    r"(?P<number>(?:\d{1,3}(?:[,_]\d{3})+|\d++)(?:\.\d++)?(?:[eE][-+]?\d++)?)"
    r"(?!\w|[.,:-]\d)"
    r"(?P<hundredth>\s*(?:%|per ?cent|(?:of|in|out of) (?:100|a hundred)\b))?"
    r"(?P<time>\s*(?:minutes?|seconds?)\b)?",
    re.IGNORECASE,
)
_ANY = re.compile(r"(?<![A-Za-z_.\d])(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_NOT_READ = re.compile(r"\]\([^)\s]*\)|<[A-Za-z/!][^>\n]*>|https?://\S+")
_THOUSANDS = re.compile(r"(?<=\d)[,_](?=\d{3}(?!\d))")


def unexplained(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, str]]:
    """Yield (cell id, problem) for each number of the text that nothing in `notebook` shows.

    A constant that is marked and does not stand in its cell is a problem, too.
    """
    shown = _shown(notebook)
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        constants = cell.metadata.get("mnist_nb", {}).get("constants", [])
        found = dict(_numbers(cell.source))
        for number, hundredth in found.items():
            if number not in constants and not _stands(number, hundredth, shown):
                yield (
                    cell.id,
                    f"says {number}, which no code and no output of this notebook shows: correct "
                    'it, or list it under {"mnist_nb": {"constants": […]}} in the metadata',
                )
        for number in set(constants) - set(found):
            yield cell.id, f"lists the constant {number}, which its text does not say: remove it"


def _numbers(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the numbers of a Markdown text that are looked at; True with percentages."""
    for found in _NUMBER.finditer(_NOT_READ.sub(" ", text)):
        number = found["number"]
        if not (found["label"] or found["time"] or _small_or_year(number)):
            yield number, bool(found["hundredth"])


def _small_or_year(number: str) -> bool:
    if not number.isdigit():
        return False
    return number[0] == "0" or int(number) <= _SMALL or 1900 <= int(number) < 2100


def _value(number: str) -> tuple[Decimal, Decimal]:
    """Return what `number` says, and one unit in its last place."""
    value = Decimal(_THOUSANDS.sub("", number))
    return value, Decimal(1).scaleb(min(value.as_tuple().exponent, 0))


def _stands(number: str, hundredth: bool, shown: set[Decimal]) -> bool:
    value, unit = _value(number)
    return any(
        abs(there * scale - value) * 2 <= unit
        for scale in (1, 100)[: 1 + hundredth]
        for there in shown
    )


def _shown(notebook: nbformat.NotebookNode) -> set[Decimal]:
    """Return the numbers, without sign, of all code and outputs, alt texts included."""
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts.append(cell.source)
            for output in cell.outputs:
                data = {k: v for k, v in output.get("data", {}).items() if k[:6] != "image/"}
                texts += [str(output.get("text", "")), str(output.get("metadata", ""))]
                texts += [re.sub(r"<[^>]*>", " ", str(text)) for text in data.values()]
    whole = "\n".join(texts)
    found = {*_ANY.findall(whole), *_ANY.findall(_THOUSANDS.sub("", whole))}
    return {Decimal(number) for number in found}
