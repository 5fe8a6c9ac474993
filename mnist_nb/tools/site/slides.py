"""Build reveal.js slides from the notebooks, one file each, that work offline.

No cell needs slide metadata. A heading starts a slide, and so does the question before a code cell
if the slide already has an output. Of long text, a slide shows the first sentence and questions;
the speaker notes have it all. Jupyter's slide metadata (`slideshow`, `slide_type`) overrides this.
"""

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output

from mnist_nb.tools.project import NOTEBOOKS
from mnist_nb.tools.site.html import export, read_page, write_files
from mnist_nb.tools.site.reveal import reveal_sources
from mnist_nb.tools.verify.normal_form import HIDE

# Heights in pixels at 1280 x 720 with slides.css. An estimate is enough, as slides.js shrinks
# slides that are still too tall.
_HEIGHT = 580  # below the heading
_CODE_LINE, _OUTPUT_LINE, _TEXT_LINE, _FIGURE, _GAP = 29, 26, 38, 360, 26
_BLOCK = re.compile(r"(?:\A|\n\n)(```.*?\n```|\$\$.*?\$\$|.+?)(?=\n\n|\Z)", re.DOTALL)
_FENCE = re.compile(r"(```\w*\n)(.*)\n```\n?", re.DOTALL)
_FOLDED = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>\n*", re.DOTALL)
_LIST, _LIST_ITEM = re.compile(r"[-*] |\d+\. "), re.compile(r"\n(?=[-*] |\d+\. )")
_WHOLE = re.compile(r"\$\$|```|\||>|\*\*\w+\*\*$|\*About [^*]*\*$")  # shown unchanged
_SHORT = 170  # characters; shorter paragraphs are not cut
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9`*_\"“])")


class Piece(NamedTuple):
    """A part of a slide that is not split: a cell, its height, and its speaker notes."""

    cell: NotebookNode | None
    height: int = 0
    notes: str = ""
    starts: str = ""  # "heading": new slide; "question": new slide if this one has an output


def build_slides(folder: Path, notebooks: list[Path] | None = None) -> list[Path]:
    """Write the slides of `notebooks` (default: all chapters) into `folder`; return their paths.

    Raises:
        WheelError: reveal.js is neither cached nor downloadable.
        PublishError, RunError: a notebook cannot be read or converted, or `folder` not written.
    """
    paths = notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    reveal = reveal_sources()
    write_files(folder, {})  # if it cannot be created, fail before the work
    files = {}
    for path in paths:
        page = read_page(path, path.stem)
        page.notebook.cells = [*_slides(_pieces(page.notebook.cells))]
        for number, cell in enumerate(page.notebook.cells):
            cell["id"] = f"cell-{number}"  # parts of a split cell share its id
        html = export(page.notebook, "slides.html.j2", page.name, {p.stem for p in paths},
                      title=page.title, reveal=reveal)  # fmt: skip
        files[f"{path.stem}.html"] = html.encode()
    write_files(folder, files)
    return [folder / name for name in files]


def _slides(pieces: Iterator[Piece]) -> Iterator[NotebookNode]:
    """Yield the cells with the start of each slide, and its notes, marked in their metadata."""
    cells, notes, title = [], [], None
    height, answered = 0, False
    for piece in pieces:
        full = height + piece.height > _HEIGHT and height
        if cells and piece.cell and (
            piece.starts == "heading" or (piece.starts == "question" and answered) or full
        ):  # fmt: skip
            yield from _mark_slide(cells, notes)
            cells, notes, height, answered = [], [], 0, False
            if piece.starts != "heading" and title:
                cells = [copy.deepcopy(title)]
        if piece.notes:
            notes.append(piece.notes)
        if piece.cell is None:
            continue
        if piece.starts == "heading":
            title = piece.cell
        cells.append(piece.cell)
        height += piece.height
        answered = answered or bool(piece.cell.get("outputs"))
    yield from _mark_slide(cells, notes)


def _mark_slide(cells: list[NotebookNode], notes: list[str]) -> list[NotebookNode]:
    cells[0].metadata["slide_start"] = True
    cells[-1].metadata["slide_notes"] = "\n\n".join(notes)
    return cells


def _pieces(cells: list[NotebookNode]) -> Iterator[Piece]:
    for number, cell in enumerate(cells):
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "")
        following = cells[number + 1].cell_type if number + 1 < len(cells) else ""
        if kind == "skip":
            continue
        if kind == "notes":
            yield Piece(None, notes=cell.source)
        elif cell.cell_type == "code":
            yield from _code(cell, "heading" if kind in ("slide", "subslide") else "")
        elif kind in ("slide", "subslide", "fragment", "-"):
            starts = "heading" if kind.endswith("slide") else ""
            yield Piece(cell, _height(cell.source), starts=starts)
        elif cell.cell_type == "markdown":
            yield from _prose(cell.source, before_code=following == "code")


def _prose(source: str, before_code: bool) -> Iterator[Piece]:
    """Split Markdown into headings, text and a question about code; folded answers go to notes."""
    answers = [answer for _, answer in _FOLDED.findall(source)]
    source = _FOLDED.sub(r"- \1\n", source)
    parts = re.split(r"^(#{1,3} .*)$", source, flags=re.MULTILINE)
    for number, part in enumerate(parts):
        if number % 2:
            level = min(part.index(" "), 2)  # h1 stays h1, deeper headings become h2
            yield Piece(new_markdown_cell("#" * level + part.lstrip("#")), starts="heading")
            continue
        blocks = [block.strip() for block in _BLOCK.findall(part.strip())]
        if len(parts) == 1 and before_code:  # the last paragraph asks about the next cell
            statement, question = _split_before_question(_sentences(blocks[-1]))
            yield from _block_pieces([*blocks[:-1], *statement])
            yield from _block_pieces([question], "question")
        else:
            yield from _block_pieces(blocks)
    for answer in answers:
        yield Piece(None, notes=answer.strip())


def _split_before_question(sentences: list[str]) -> tuple[list[str], str]:
    """Split a paragraph before its question; without one, before its last sentence."""
    questions = [n for n, sentence in enumerate(sentences) if sentence.endswith("?")]
    cut = questions[0] if questions else len(sentences) - 1
    return [" ".join(sentences[:cut])] if cut else [], " ".join(sentences[cut:])


def _block_pieces(blocks: list[str], starts: str = "") -> Iterator[Piece]:
    """Yield the pieces for paragraphs, lists and formulas; long paragraphs go into the notes."""
    spoken = False
    for block in blocks:
        if _LIST.match(block):
            for item in _LIST_ITEM.split(block):
                yield Piece(new_markdown_cell(item), _height(item))
        elif _WHOLE.match(block) or (len(block) <= _SHORT and not spoken):
            yield Piece(new_markdown_cell(block), _height(block), starts=starts)
        else:
            sentences = _sentences(block)
            first = 0 if spoken else 1 + (len(sentences[0]) < 30)
            shown = [s for n, s in enumerate(sentences) if n < first or s.endswith((":", "?"))]
            text = " ".join(shown)
            yield Piece(new_markdown_cell(text) if text else None, _height(text), block, starts)
            spoken = True
        starts = ""


def _sentences(block: str) -> list[str]:
    """Return the sentences of a paragraph; do not split bold text, code, formulas or links."""
    found = [""]
    for part in _SENTENCE.split(block):
        whole = not any(found[-1].count(mark) % 2 for mark in ("**", "`", "$"))
        whole = whole and found[-1].count("[") == found[-1].count("]")
        if found[-1] and whole:
            found.append(part)
        else:
            found[-1] = f"{found[-1]} {part}".strip()
    return found


def _code(cell: NotebookNode, starts: str) -> Iterator[Piece]:
    """Split a code cell into pieces that fit on a slide: groups of lines, then each output."""
    folded = HIDE in cell.metadata.get("tags", [])
    if folded:
        yield Piece(None, notes=f"```python\n{cell.source}\n```")
    for chunk in _chunks([] if folded else cell.source.splitlines(), _CODE_LINE):
        part = copy.deepcopy(cell)
        part.source, part.outputs = "\n".join(chunk), []
        yield Piece(part, len(chunk) * _CODE_LINE + _GAP, starts=starts)
        starts = ""
    for output in cell.outputs:
        for shown, height in _outputs(output):
            part = copy.deepcopy(cell)
            part.source, part.outputs = "", [shown]
            yield Piece(part, height)


def _chunks(lines: list[str], height: int) -> Iterator[list[str]]:
    """Yield groups of lines that fit on a slide, split before an unindented line if possible."""
    while lines:
        end = limit = (_HEIGHT - _GAP) // height
        if len(lines) > limit:
            ends = [n for n in range(limit // 2, limit + 1) if not lines[n].startswith(" ")]
            end = max(ends, default=limit)
        yield lines[:end]
        lines = lines[end:]


def _outputs(output: NotebookNode) -> Iterator[tuple[NotebookNode, int]]:
    """Yield an output in pieces that fit on a slide, with heights; shorten long text."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        yield output, _FIGURE
    elif "text/html" in data:
        html, height = _rows(data["text/html"])
        yield new_output("display_data", {"text/html": html}), height
    elif fence := _FENCE.fullmatch(data.get("text/markdown", "")):
        for chunk in _chunks(fence[2].splitlines(), _CODE_LINE):
            text = f"{fence[1]}{chr(10).join(chunk)}\n```"
            part = new_output("display_data", {"text/markdown": text})
            yield part, len(chunk) * _CODE_LINE + _GAP
    elif "text/markdown" in data:
        yield output, _height(data["text/markdown"])
    else:
        lines = data.get("text/plain", "").splitlines()
        limit = (_HEIGHT - _GAP) // _OUTPUT_LINE - 2
        if len(lines) > limit:
            lines = [*lines[:limit], f"… {len(lines) - limit} more lines in the notebook"]
        height = sum(max(1, math.ceil(len(line) / 96)) for line in lines) * _OUTPUT_LINE + _GAP
        yield new_output("stream", text="\n".join(lines)), height


def _rows(html: str) -> tuple[str, int]:
    """Return HTML with the rows of a table that fit on a slide, and its height."""
    soup = BeautifulSoup(html, "html.parser")
    rows, height, left = soup.find_all("tr"), _GAP + _FIGURE * bool(soup.img), 0
    for row in rows:
        cells = [len(cell.get_text()) for cell in row.find_all(["td", "th"])]
        height += 8 + _OUTPUT_LINE * max(1, math.ceil(sum(cells) / 80))
        if height > _HEIGHT - 40:
            left += 1
            row.decompose()
            height = _HEIGHT
    if left:
        soup.append(BeautifulSoup(f"<p>… {left} more rows in the notebook</p>", "html.parser"))
    return str(soup), min(height, _HEIGHT)


def _height(text: str) -> int:
    """Estimate the height of Markdown text on a slide, in pixels."""
    if not text:
        return 0
    lines = re.sub(r"(?<!\n)\n(?![-*|\n])", " ", text).splitlines()
    return sum(math.ceil(len(line) / 82) for line in lines) * _TEXT_LINE + 14
