"""Write a learner's feedback: one HTML page with points and executed notebooks.

`grading` calls `write_page`, which leaves out hidden tests. The page is made by another process,
under limits of time and memory, as a learner's text could take minutes to colour.
"""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

from nbformat import NotebookNode

from mnist_nb.files import write_whole
from mnist_nb.tools.classroom.cells import clean, is_solution, name_of
from mnist_nb.tools.classroom.containment import prlimit_prefix

_HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS(.*?)### END HIDDEN TESTS", re.S)
_LONGEST = 5_000  # characters of an output that are shown
_STYLE = Path(__file__).with_name("feedback.css")
_LEFT_OUT = "(this output shows a hidden test, so the page leaves it out)"
# a cell on the page: what it is, and its text
Part = tuple[str, str]


def write_page(
    path: Path, learner: str, results: dict, blanks: dict[str, NotebookNode], seconds: int
) -> None:
    """Write the page of `learner` to `path`: a table of points, then the executed notebooks.

    `results` maps the name of each exercise to a `grading.Graded`, `blanks` to what learners get.
    If colouring the code takes longer than `seconds` or too much memory, it is left plain.
    """
    parts = []
    for name, result in results.items():
        if result.notebook:
            parts.append(("heading", name))
            parts += parts_of(result.notebook, blanks[name])
    page = [learner, [(name, *result[:3]) for name, result in results.items()], parts]
    try:
        done = subprocess.run(
            [*prlimit_prefix(), sys.executable, "-m", __name__], input=json.dumps(page).encode(),
            capture_output=True, timeout=seconds, check=True,
        )  # fmt: skip
        text = done.stdout
    except subprocess.SubprocessError:
        text = html_of(*page, coloured=False).encode()
    write_whole(path, text)


def parts_of(notebook: NotebookNode, blank: NotebookNode) -> list[Part]:
    """Return the cells of an executed notebook as parts: ours as learners get them."""
    from nbgrader.utils import determine_grade, is_grade

    ours = {name_of(cell): cell for cell in blank.cells}
    secret, parts = secrets(notebook, blank), []
    for cell in notebook.cells:
        mine = ours.get(name_of(cell))
        if mine is None or is_solution(mine):
            kind = {"code": "code", "raw": "not counted"}.get(cell.cell_type, "text")
            parts.append((kind, clean(cell.source)))
        else:
            parts.append(("code" if mine.cell_type == "code" else "ours", mine.source))
        for output in cell.get("outputs", []):
            text = _text(output)
            parts.append(("output", _LEFT_OUT if shows(text, secret) else text))
        if is_grade(cell):
            points, most = determine_grade(cell)
            parts.append(("points", f"{points or 0:g} of {most:g} points."))
    return parts


def secrets(notebook: NotebookNode, blank: NotebookNode) -> set[str]:
    """Return the lines of hidden tests, without space and quotes, that stand nowhere else."""
    known = _bare("\n".join(cell.source for cell in blank.cells))
    found = set()
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            lines = "\n".join(_HIDDEN.findall(cell.source)).splitlines()
            # a line that is only a sentence is what a failed check says
            found |= {_bare(line) for line in lines if not re.match(r"""\s*f?["']""", line)}
    return {line for line in found if len(line) >= 15 and line not in known}


def shows(text: str, secret: set[str]) -> bool:
    """Return whether an output shows a line of a hidden test, quoted or not."""
    text = _bare(text)
    return "###BEGINHIDDENTESTS" in text or any(line in text for line in secret)


def _bare(text: str) -> str:
    return re.sub(r"""\\[nt]|[\s"'\\]""", "", text)


def _text(output: NotebookNode) -> str:
    """Return an output as text: a long one is cut, an error is its name and message."""
    if output.output_type == "error":  # its traceback would show hidden tests
        text = f"{output.ename}: {output.evalue}"
    else:
        text = str(output.get("text") or output.get("data", {}).get("text/plain") or "(no text)")
    text = clean(text[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def html_of(learner: str, rows: list, parts: list[Part], coloured: bool = True) -> str:
    """Return the page as HTML. Only what is ours is read as Markdown."""
    points, most = (sum(row[k] for row in rows) for k in (1, 2))
    title = html.escape(f"{learner}: {points:g} of {most:g} points")
    lines = [
        f"<tr><th scope=row>{html.escape(name)}</th><td>{points:g} of {most:g}</td>"
        f"<td>{html.escape(remark)}</td></tr>"
        for name, points, most, remark in rows
    ]
    head = (
        "<tr><th scope=col>exercises</th><th scope=col>points</th><th scope=col>remark</th></tr>"
    )
    body = "\n".join(_part(kind, text, coloured) for kind, text in parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE.read_text(encoding='utf-8')}</style></head><body><main>\n"
        f"<h1>{title}</h1>\n<table>{head}{''.join(lines)}</table>\n{body}\n</main></body></html>\n"
    )


def _part(kind: str, text: str, coloured: bool) -> str:
    """Return a part as HTML; every region that scrolls can be reached with the keyboard."""
    plain = html.escape(text)
    if kind == "ours" and coloured:
        return _ours(text)
    if kind == "code" and coloured:
        plain = _coloured(text)
    if kind == "heading":
        return f"<h2>{plain}</h2>"
    if kind == "points":
        return f"<p><strong>{plain}</strong></p>"
    note = "<p>This cell does not count and was not executed:</p>" * (kind == "not counted")
    name = {"code": "highlight", "output": "output"}.get(kind, "text")
    return f'{note}<pre class="{name}" tabindex="0">\n{plain}</pre>'


def _coloured(text: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    # IPython's lexer takes minutes for many empty lines
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    return highlight(text, lexer, HtmlFormatter(nowrap=True))


def _ours(text: str) -> str:
    from bs4 import BeautifulSoup
    from nbconvert.filters import markdown2html

    page = BeautifulSoup(markdown2html(text), "html.parser")
    for link in page.find_all("a"):
        if "anchor-link" in link.get("class", []):
            link.decompose()
        elif not link.get("href", "").startswith(("https://", "http://")):
            link.unwrap()  # a chapter is not beside this page, nor an anchor in it
    for heading in page.find_all(re.compile("^h[1-6]$")):
        heading.name, heading.attrs = "h3", {}  # notebooks share ids
    return str(page)


if __name__ == "__main__":
    sys.stdout.buffer.write(html_of(*json.load(sys.stdin.buffer)).encode())
