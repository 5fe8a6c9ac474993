"""Build reveal.js slides from the notebooks, one file each, that work offline.

No cell needs slide metadata. `pagination` decides where a slide starts: most often at a heading.
Text is shown whole, as a sentence without the one before it is a riddle. Speaker notes have what
the notebook folds: answers, and code that draws. Jupyter's slide metadata (`slideshow`,
`slide_type`) overrides this.
"""

import copy
import re
from collections.abc import Iterator
from pathlib import Path

from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output

from mnist_nb.tools.project import NOTEBOOKS
from mnist_nb.tools.site.html import export, read_page, write_files
from mnist_nb.tools.site.pagination import (
    CODE_LINE,
    GAP,
    HEIGHT,
    LOW,
    OUTPUT_LINE,
    Piece,
    beside,
    figure_height,
    paginate,
    rows_height,
    text_height,
)
from mnist_nb.tools.site.reveal import reveal_sources
from mnist_nb.tools.verify.normal_form import HIDE

_BLOCK = re.compile(r"(?:\A|\n\n)(```.*?\n```|\$\$.*?\$\$|.+?)(?=\n\n|\Z)", re.DOTALL)
_FENCE = re.compile(r"(```\w*\n)(.*)\n```\n?", re.DOTALL)
_FOLDED = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>\n*", re.DOTALL)
_LIST, _LIST_ITEM = re.compile(r"[-*] |\d+\. "), re.compile(r"\n(?=[-*] |\d+\. )")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9`*_\"“(])")


def build_slides(folder: Path, notebooks: list[Path] | None = None) -> list[Path]:
    """Write the slides of `notebooks` (default: all chapters) into `folder`; return their paths.

    Raises:
        DataError: reveal.js is neither cached nor downloadable.
        PublishError, RunError: a notebook cannot be read or converted, or `folder` not written.
    """
    paths = notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    reveal = reveal_sources()
    write_files(folder, {})  # if it cannot be created, fail before the work
    files = {}
    for path in paths:
        page = read_page(path, path.stem)
        slides = paginate([*_pieces(page.notebook.cells)])
        page.notebook.cells = [cell for slide in _titled(slides) for cell in _cells(slide)]
        for number, cell in enumerate(page.notebook.cells):
            cell["id"] = f"cell-{number}"  # parts of a split cell share its id
        html = export(page.notebook, "slides.html.j2", page.name, {p.stem for p in paths},
                      title=page.title, reveal=reveal)  # fmt: skip
        files[f"{path.stem}.html"] = html.encode()
    write_files(folder, files)
    return [folder / name for name in files]


def _titled(slides: list[list[Piece]]) -> Iterator[list[Piece]]:
    """Yield the slides; one that goes on with a section starts with its heading again."""
    title = []
    for slide in slides:
        yield slide if slide[0].kind == "heading" else [*copy.deepcopy(title), *slide]
        title = [piece for piece in slide if piece.kind == "heading"][-1:] or title


def _cells(slide: list[Piece]) -> list[NotebookNode]:
    """Return the cells of a slide, with its start, its layout and its notes in their metadata."""
    cells = [piece.cell for piece in slide if piece.cell] or [new_markdown_cell("")]
    cells[0].metadata["slide_start"] = "beside" if beside(slide) else "stacked"
    cells[-1].metadata["slide_notes"] = "\n\n".join(p.notes for p in slide if p.notes)
    return cells


def _pieces(cells: list[NotebookNode]) -> Iterator[Piece]:
    kinds = ["", *(cell.cell_type for cell in cells), ""]
    for before, cell, after in zip(kinds, cells, kinds[2:], strict=False):
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "")
        starts = "heading" if kind in ("slide", "subslide") else ""
        if kind == "skip":
            continue
        if kind == "notes":
            yield Piece("notes", notes=cell.source)
        elif cell.cell_type == "code":
            yield from _code(cell, starts or "code")
        elif starts or kind in ("fragment", "-"):
            yield Piece(starts or "text", cell, text_height(cell.source))
        elif cell.cell_type == "markdown":
            yield from _prose(cell.source, before == "code", after == "code")


def _prose(source: str, answers_code: bool, before_code: bool) -> Iterator[Piece]:
    """Split Markdown into headings, blocks and a question about code; folded answers are notes."""
    answers = [answer for _, answer in _FOLDED.findall(source)]
    source = _FOLDED.sub(r"- \1\n", source)
    parts = re.split(r"^(#{1,3} .*)$", source, flags=re.MULTILINE)
    for number, part in enumerate(parts):
        if number % 2:
            level = min(part.index(" "), 2)  # h1 stays h1, deeper headings become h2
            yield Piece("heading", new_markdown_cell("#" * level + part.lstrip("#")))
            continue
        kind = "answer" if answers_code and not number else "text"
        blocks = [block.strip() for block in _BLOCK.findall(part.strip())]
        if before_code and number == len(parts) - 1 and blocks:  # the last paragraph asks
            statement, question = _split_before_question(blocks.pop())
            yield from _blocks(blocks, kind)
            read = kind == "answer" and not blocks  # then it answers the code above
            yield from _blocks(statement, kind if read else "statement")
            yield _text(question, "question")
        else:
            yield from _blocks(blocks, kind)
    for answer in answers:
        yield Piece("notes", notes=answer.strip())


def _split_before_question(paragraph: str) -> tuple[list[str], str]:
    """Return the sentences before a paragraph's first question, and the rest.

    Without a question mark, the whole paragraph is the question.
    """
    found = _sentences(paragraph)
    asks = [n for n, sentence in enumerate(found) if sentence.endswith("?")]
    cut = asks[0] if asks else 0
    return [" ".join(found[:cut])] if cut else [], " ".join(found[cut:])


def _blocks(blocks: list[str], kind: str) -> Iterator[Piece]:
    for block in blocks:
        for part in _LIST_ITEM.split(block) if _LIST.match(block) else [block]:
            yield _text(part, "item" if _LIST.match(part) else kind)


def _text(block: str, kind: str) -> Piece:
    return Piece(kind, new_markdown_cell(block), text_height(block))


def _sentences(block: str) -> list[str]:
    """Return the sentences of a paragraph; do not split bold text, code, formulas or links."""
    found = [""]
    for part in _SENTENCE.split(block):
        whole = not any(found[-1].count(mark) % 2 for mark in ("**", "`", "$"))
        whole = whole and all(found[-1].count(a) == found[-1].count(b) for a, b in ("[]", "()"))
        if found[-1] and whole:
            found.append(part)
        else:
            found[-1] = f"{found[-1]} {part}".strip()
    return found


def _code(cell: NotebookNode, kind: str) -> Iterator[Piece]:
    """Split a code cell into pieces that fit on a slide: groups of lines, then each output."""
    folded = HIDE in cell.metadata.get("tags", [])
    if folded:
        yield Piece("notes", notes=f"```python\n{cell.source}\n```")
    for chunk in _chunks([] if folded else cell.source.splitlines(), CODE_LINE):
        part = copy.deepcopy(cell)
        part.source, part.outputs = "\n".join(chunk), []
        yield Piece(kind, part, len(chunk) * CODE_LINE + GAP, width=max(map(len, chunk)))
        kind = "code"
    for output in cell.outputs:
        for kind, shown, height in _outputs(output):
            part = copy.deepcopy(cell)
            part.source, part.outputs = "", [shown]
            yield Piece(kind, part, height)


def _chunks(lines: list[str], height: int) -> Iterator[list[str]]:
    """Yield groups of lines that fit on a slide, split before an unindented line if possible."""
    while lines:
        end = limit = (HEIGHT - GAP) // height
        if len(lines) > limit:
            ends = [n for n in range(limit // 2, limit + 1) if not lines[n].startswith(" ")]
            end = max(ends, default=limit)
        yield lines[:end]
        lines = lines[end:]


def _outputs(output: NotebookNode) -> Iterator[tuple[str, NotebookNode, int]]:
    """Yield an output in pieces that fit on a slide, with kind and height; shorten long text."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        yield "figure", output, figure_height(data["image/png"])
    elif "text/html" in data:
        html, height = _rows(data["text/html"])
        yield "output", new_output("display_data", {"text/html": html}), height
    elif fence := _FENCE.fullmatch(data.get("text/markdown", "")):
        for chunk in _chunks(fence[2].splitlines(), CODE_LINE):
            text = f"{fence[1]}{chr(10).join(chunk)}\n```"
            part = new_output("display_data", {"text/markdown": text})
            yield "output", part, len(chunk) * CODE_LINE + GAP
    elif "text/markdown" in data:
        yield "output", output, text_height(data["text/markdown"])
    else:
        lines = data.get("text/plain", "").splitlines()
        limit = (HEIGHT - GAP) // OUTPUT_LINE - 2
        if len(lines) > limit:
            lines = [*lines[:limit], f"… {len(lines) - limit} more lines in the notebook"]
        height = sum(1 + len(line) // 97 for line in lines) * OUTPUT_LINE + GAP
        yield "output", new_output("stream", text="\n".join(lines)), height


def _rows(html: str) -> tuple[str, int]:
    """Return HTML with the rows of a table that fit on a slide, and its height."""
    soup = BeautifulSoup(html, "html.parser")
    height, left = GAP + (LOW + 3 * OUTPUT_LINE) * bool(soup.img), 0  # with its caption
    for row in soup.find_all("tr"):
        height += rows_height([cell.get_text() for cell in row.find_all(["td", "th"])])
        if height > HEIGHT - 40:
            left += 1
            row.decompose()
            height = HEIGHT
    if left:
        soup.append(BeautifulSoup(f"<p>… {left} more rows in the notebook</p>", "html.parser"))
    return str(soup), min(height, HEIGHT)
