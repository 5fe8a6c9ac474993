"""Check that each number in a notebook's text also occurs in its code or outputs.

The text may round a number (0.2866 to 0.29), write it as a percentage (0.925 as 92.5%) or with
commas, and omit its sign. A number from elsewhere, such as a fact from a paper, is a constant: the
cell's metadata lists it as it is written, {"mnist_nb": {"constants": ["60,000"]}}.

Not checked: whole numbers up to 12, years, minutes and seconds, numbers with a leading zero
(chapters), versions and dates, parts of words (SHA-256, 20th), links, and numbers that follow a
word in `_LABELS`.
"""

import re
from collections.abc import Iterator
from decimal import Decimal

import nbformat

_SMALL = 12  # larger whole numbers are checked
_LABELS = "chapters?|section|exercises?|cell|line|figure|table|page|seed|In \\["
_NUMBER = re.compile(
    rf"(?<![\w.,])(?<![A-Za-z]-)(?<!\d[-:])(?P<label>\b(?:{_LABELS})\s*)?"
    r"(?P<number>(?:\d{1,3}(?:[,_]\d{3})+|\d++)(?:\.\d++)?(?:[eE][-+]?\d++)?)"
    r"(?!\w|[.,:-]\d)"
    r"(?P<percent>\s*(?:%|per ?cent|(?:of|in|out of) (?:100|a hundred)\b))?"
    r"(?P<time>\s*(?:minutes?|seconds?)\b)?",
    re.IGNORECASE,
)
_ANY = re.compile(r"(?<![A-Za-z_.\d])(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_NOT_READ = re.compile(r"\]\([^)\s]*\)|<[A-Za-z/!][^>\n]*>|https?://\S+")
_UNSEEN = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL)
_THOUSANDS = re.compile(r"(?<=\d)[,_](?=\d{3}(?!\d))")


def unexplained_numbers(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, str]]:
    """Yield (cell id, problem) for each number in text that is not in the code or outputs.

    A listed constant that does not occur in its cell is a problem, too.
    """
    shown = _shown(notebook)
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        constants = cell.metadata.get("mnist_nb", {}).get("constants", [])
        found = dict(_numbers(cell.source))
        for number, percent in found.items():
            if number not in constants and not _is_shown(number, percent, shown):
                yield (
                    cell.id,
                    f"says {number}, which is in no code or output of this notebook: correct it, "
                    'or list it in the metadata: {"mnist_nb": {"constants": […]}}',
                )
        for number in set(constants) - set(found):
            yield cell.id, f"lists the constant {number}, which its text does not say: remove it"


def _numbers(text: str) -> Iterator[tuple[str, bool]]:
    """Yield (number, whether it is a percentage) for the numbers to check in a Markdown text."""
    for found in _NUMBER.finditer(_NOT_READ.sub(" ", text)):
        number = found["number"]
        if not (found["label"] or found["time"] or _small_or_year(number)):
            yield number, bool(found["percent"])


def _small_or_year(number: str) -> bool:
    if not number.isdigit():
        return False
    return number[0] == "0" or int(number) <= _SMALL or 1900 <= int(number) < 2100


def _value(number: str) -> tuple[Decimal, Decimal]:
    """Return the value of `number`, and one unit in its last place."""
    value = Decimal(_THOUSANDS.sub("", number))
    return value, Decimal(1).scaleb(min(value.as_tuple().exponent, 0))


def _is_shown(number: str, percent: bool, shown: set[Decimal]) -> bool:
    value, unit = _value(number)
    return any(
        abs(there * scale - value) * 2 <= unit
        for scale in (1, 100)[: 1 + percent]
        for there in shown
    )


def _shown(notebook: nbformat.NotebookNode) -> set[Decimal]:
    """Return the numbers, without sign, in all code and outputs, including alt texts."""
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts.append(cell.source)
            for output in cell.outputs:
                data = {k: v for k, v in output.get("data", {}).items() if k[:6] != "image/"}
                texts += [str(output.get("text", "")), str(output.get("metadata", ""))]
                texts += [_UNSEEN.sub(" ", str(text)) for text in data.values()]
    whole = "\n".join(texts)
    found = {*_ANY.findall(whole), *_ANY.findall(_THOUSANDS.sub("", whole))}
    return {Decimal(number) for number in found}
