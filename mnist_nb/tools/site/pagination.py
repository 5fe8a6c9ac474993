"""Decide where one slide ends: the pieces of a notebook, in order, as slides that are well filled.

Every way to cut the pieces into slides has a price: for empty room, for what is too much, and for
separating what belongs together. The cheapest way is taken.
"""

import base64
import math
import re
import struct
from typing import NamedTuple

from nbformat import NotebookNode

# Heights in pixels at 1280 x 720 with slides.css. An estimate is enough, as slides.js shrinks
# slides that are still too tall.
HEIGHT = 590  # below the heading
CODE_LINE, OUTPUT_LINE, GAP, _HEADING = 27, 24, 24, 70
LOW = 260  # a figure is at least so high
_TEXT_LINE = 34
_LETTERS, _BESIDE_LETTERS = 88, 42  # in a line of text, and in one beside a figure
_NARROW = 52  # letters of a line of code that fits beside a figure
_WIDEST = 2.2  # width / height of a figure that goes beside text; wider ones go below
_WORDS = ("text", "item", "statement", "question", "answer")

# what it costs to start a slide before a piece of one kind after a piece of another
_APART = {
    "text": {"text": 0.2, "item": 0.6, "question": 0.6, "code": 0.6, "figure": 1.5},
    "statement": {"question": 0.8},
    "item": {"text": 0.2, "item": 0.5, "question": 0.2, "code": 0.5, "figure": 1.5},
    "question": {"text": 0.5, "code": 3.0, "figure": 4.0},
    "code": {"text": 0.4, "question": 0.2, "code": 0.3, "output": 6.0, "figure": 6.0},
    "output": {"answer": 1.0, "question": 0.0, "code": 0.2, "output": 0.5, "figure": 0.5},
    "figure": {"answer": 1.2, "question": 0.0, "code": 0.2, "output": 0.5, "figure": 0.2},
    "answer": {"answer": 0.3, "item": 0.6, "question": 0.0, "code": 0.6, "figure": 1.5},
}


class Piece(NamedTuple):
    """A part of a slide that is not split: its kind, cell, height, speaker notes, letters a line.

    The kinds: heading, text, item (of a list), question (about the code that follows), statement
    (of the same paragraph, before the question), code, output, figure, answer (the text after an
    output), and notes, which have no cell.
    """

    kind: str
    cell: NotebookNode | None = None
    height: int = 0
    notes: str = ""
    width: int = 0


def paginate(pieces: list[Piece]) -> list[list[Piece]]:
    """Return the pieces as slides, cut where it costs least.

    A heading starts a slide, unless short sections have room on one.
    """
    best = [(0.0, 0)]  # of the first n pieces: the lowest price, and where its last slide starts
    for end in range(1, len(pieces) + 1):
        prices = []
        for start in range(end - 1, -1, -1):
            price = best[start][0] + _apart(pieces, start) + _price(pieces[start:end])
            prices.append((price, start))
        best.append(min(prices))
    slides, end = [], len(pieces)
    while end:
        start = best[end][1]
        slides.insert(0, pieces[start:end])
        end = start
    return slides


def beside(slide: list[Piece]) -> bool:
    """Does the figure of this slide go beside the rest, as two columns?"""
    kinds = [piece.kind for piece in slide]
    if kinds.count("figure") != 1 or kinds.count("heading") > 1:
        return False
    rest = [piece for piece in slide if piece.cell and piece.kind not in ("figure", "heading")]
    wide = any(p.kind == "output" or p.width > _NARROW or "$$" in p.cell.source for p in rest)
    return bool(rest) and not wide and slide[kinds.index("figure")].height > HEIGHT / _WIDEST


def _apart(pieces: list[Piece], start: int) -> float:
    """Return what it costs to start a slide before the piece `start`."""
    shown = [piece for piece in pieces[:start] if piece.kind != "notes"]
    if not shown or pieces[start].kind == "heading":
        return 0
    if pieces[start].kind == "notes" or shown[-1].kind == "heading":
        return 99
    return _APART[shown[-1].kind].get(pieces[start].kind, 0.3)


def _price(slide: list[Piece]) -> float:
    """Return what the empty room on a slide costs, or what is too much, or a second section."""
    heads = [piece for piece in slide if piece.kind == "heading"]
    if len(heads) > 1 and (slide[0].kind != "heading" or slide[0].cell.source.startswith("# ")):
        return 99  # the rest of a section, or the title, goes with no other section
    if beside(slide):
        longer = _LETTERS / _BESIDE_LETTERS  # times as many lines
        filled = sum(p.height * (longer if p.kind in _WORDS else 1)
                     for p in slide if p.kind != "figure")  # fmt: skip
        filled = max(filled, 0.8 * HEIGHT)
    else:
        filled = sum(_below(p.height) if p.kind == "figure" else p.height for p in slide)
    more = max(len(heads) - 1, 0)
    part = (filled + more * _HEADING) / HEIGHT
    return 0.4 * more + (1.5 * (1 - part) ** 2 if part <= 1 else 4 * (part - 1))


def _below(height: int) -> int:
    """Return the height of a figure as wide as a slide, within what slides.css allows."""
    return max(LOW, min(2 * height, 380))


def text_height(text: str) -> int:
    """Estimate the height of Markdown text on a slide."""
    if not text:
        return 0
    shown = re.sub(r"\]\([^)]*\)", "", text)  # links
    lines = re.sub(r"(?<!\n)\n(?![-*|\n])", " ", shown).splitlines()
    height = sum(max(1, math.ceil(len(line) / _LETTERS)) for line in lines) * _TEXT_LINE + 12
    return height + 50 if "$$" in text else height


def rows_height(texts: list[str]) -> int:
    """Estimate the height of a row of a table with these texts."""
    return 8 + OUTPUT_LINE * max(1, math.ceil(sum(map(len, texts)) / 80))


def figure_height(png: str) -> int:
    """Return how tall a figure would be if it were HEIGHT pixels wide."""
    width, height = struct.unpack(">II", base64.b64decode(png[:64])[16:24])
    return round(HEIGHT * height / width)
