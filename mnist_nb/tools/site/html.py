"""Convert a notebook to HTML; `pages` and `slides` call it with different templates."""

import base64
import functools
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bs4 import BeautifulSoup
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from traitlets.config import Config

from mnist_nb import live
from mnist_nb.errors import Problem
from mnist_nb.files import write_whole
from mnist_nb.tools.runs.keeping import output_folder_error
from mnist_nb.tools.runs.run import read_notebook

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_PLUS_MINUS = "&#x000B1;"  # latex2mathml takes it for a name, which has no space around it
_FUNCTION = re.compile(r"(?<=<mi>ln</mi>)(?!<mo)")
_NUMBER = re.compile(r"[-+−±\d.,:/%e\s]*|nan|inf")


# So that formulas look the same on every system: STIX Math 1.1.1, under the SIL Open Font License
# (see the names in the file), cut down to the characters of formulas, and renamed.
MATH_FONT = Path(__file__).parent / "templates" / "mnist_nb" / "math.woff"


class PublishError(Problem):
    """A notebook cannot be published as a page or slides."""


class Page(NamedTuple):
    """A page of the site: file, name without suffix, notebook, title, time, slides, sections."""

    path: Path
    name: str
    notebook: NotebookNode
    title: str
    minutes: str
    slides: str = ""
    sections: Sequence[tuple[str, str]] = ()


class _Renderer(IPythonRenderer):
    """Render Markdown, with formulas as MathML, which browsers show without a script."""

    def block_math(self, body: str) -> str:
        return f'<div class="scroll">{_mathml(body, "block")}</div>'

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


@pass_context
def _relative(context, to: str) -> str:
    """Return the path to `to`, a name on the site, relative to the page being written."""
    here = context["resources"]["page"]["here"].name
    return posixpath.relpath(to, posixpath.dirname(here) or ".")


class _Exporter(HTMLExporter):
    """Export notebooks like nbconvert, with this project's templates."""

    def __init__(self, template: str):
        shown = ["text/html", "text/markdown", "image/png", "text/plain"]
        super().__init__(
            config=Config({"NbConvertBase": {"display_data_priority": shown}}),
            extra_template_basedirs=[str(Path(__file__).parent / "templates")],
            template_name="mnist_nb",
            template_file=template,
            optimistic_validation=True,  # validate once, not after each preprocessor
            filters={"relative": _relative},
        )

    def from_notebook_node(self, nb: NotebookNode, resources=None, **more) -> tuple[str, dict]:
        """Return the page without HTMLExporter's slow corrections; `export` makes its own."""
        info = nb.metadata.get("language_info", {})
        lexer = info.get("pygments_lexer", info.get("name"))
        self.register_filter("highlight_code", Highlight2HTML(pygments_lexer=lexer, parent=self))
        return super(HTMLExporter, self).from_notebook_node(nb, resources, **more)

    @pass_context
    def markdown2html(self, context, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _Renderer(escape=False, attachments=attachments, anchor_link_text="")
        return MarkdownWithMath(renderer=renderer).render(source)


exporter = functools.cache(_Exporter)  # one per template, as compiling it is slow


def read_page(path: Path, name: str) -> Page:
    """Read a notebook or Markdown file, with the title and minutes from its first cell."""
    if path.suffix == ".md":
        notebook = new_notebook(cells=[new_markdown_cell(path.read_text(encoding="utf-8"))])
    else:
        notebook = read_notebook(path)
    first = notebook.cells[0].source if notebook.cells else ""
    title = re.search(r"^# (.+)", first, re.MULTILINE)
    minutes = re.search(r"^\*(About .*?)\.?\*$", first, re.MULTILINE)
    said = title[1].replace("`", "") if title else path.stem
    time = _LINK.sub(r"\1", minutes[1]) if minutes else ""  # the index shows it as plain text
    return Page(path, name, notebook, said, time)


def export(
    notebook: NotebookNode, template: str, name: str, published: set[str], **more
) -> BeautifulSoup:
    """Return the page `name` as parsed HTML, whose links to files lead to `published` pages."""
    try:
        html, _ = exporter(template).from_notebook_node(notebook, resources=more)
    except PublishError as error:
        raise PublishError(f"{name}: {error}") from error
    here = posixpath.dirname(name)
    soup = BeautifulSoup(html, "html.parser")
    for link in soup.find_all("a", href=True):
        _fix_link(link, here, published)
    for table in soup.find_all("table"):
        _fix_table(table, soup)
    _fix_scripts(soup, alive=template == "page.html.j2")
    if soup.find("math"):
        soup.style.append(_math_style())
    for image in soup.find_all("img", alt=False):
        image["alt"] = "No description has been provided for this image"
    for box in soup.select("pre, .scroll"):  # make it focusable, to scroll by keyboard
        if len(max(box.get_text().splitlines(), key=len, default="")) > 30 or box.name == "div":
            box["tabindex"] = "0"
    return soup


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write `files` (name -> content) into `folder`, each atomically."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, content)
    except OSError as error:
        raise output_folder_error(folder, error) from error


@functools.cache
def _math_style() -> str:
    font = base64.b64encode(MATH_FONT.read_bytes()).decode()
    face = f'font-family: "Notebook Math"; src: url("data:font/woff;base64,{font}")'
    return f'@font-face {{ {face} }}\nmath {{ font-family: "Notebook Math", math; }}\n'


def _mathml(tex: str, display: str) -> str:
    try:
        mathml = convert(tex, display=display)
        mathml = mathml.replace(f"<mi>{_PLUS_MINUS}</mi>", f"<mo>{_PLUS_MINUS}</mo>")
        return _FUNCTION.sub('<mspace width="0.17em"/>', mathml)
    except Exception as error:  # latex2mathml raises many kinds
        raise PublishError(
            f"the formula {tex!r} cannot be made into MathML ({error}); correct it in the "
            "notebook or page that has it"
        ) from error


def _fix_link(link, here: str, published: set[str]) -> None:
    """Make a link to a published file lead to its page; remove links to other files."""
    target, _, fragment = link["href"].partition("#")
    name, ending = posixpath.splitext(posixpath.normpath(posixpath.join(here, target)))
    if "anchor-link" in link.get("class", ()):
        link.decompose()
    elif "://" in target or not target or ending == ".html" or link.has_attr("download"):
        pass
    elif ending in (".ipynb", ".md") and name in published:
        link["href"] = f"{target.removesuffix(ending)}.html" + (fragment and f"#{fragment}")
    else:
        link.unwrap()


def _fix_scripts(soup: BeautifulSoup, alive: bool) -> None:
    """Remove what notebooks bring of scripts and styles; renew our live parts, if `alive`.

    Of a part, only its name, its still content and its data are taken from the notebook. Its
    script and its style come from `mnist_nb.live`.
    """
    stored = [(part, part.find_next_sibling("script", type="application/json"))
              for part in soup.main.select(".mnist-nb-live")]  # fmt: skip
    for tag in soup.main.find_all(["script", "style"]):  # pandas, for instance, adds a style
        tag.extract()
    for part, data in stored if alive else ():
        if part.get("data-part") in live.NAMES and data:
            still = part.decode_contents()
            whole = live.html(part["data-part"], still, data.get_text())
            whole += f'<div class="paper">{still}</div>'  # printed, unless the part is in use
            part.replace_with(BeautifulSoup(whole, "html.parser"))


def _fix_table(table, soup: BeautifulSoup) -> None:
    """Make a table scroll in a box, mark number columns, and turn empty th cells into td."""
    table.wrap(soup.new_tag("div", attrs={"class": "scroll"}))
    table.attrs.pop("border", None)
    rows = [row.find_all(["th", "td"]) for row in table.find_all("tr") if row.find(["th", "td"])]
    body = [row for row in rows if row[-1].name == "td"]
    numeric = [all(_NUMBER.fullmatch(cell.get_text()) for cell in column)
               for column in zip(*body, strict=False)]  # fmt: skip
    for row in rows:
        row[0].parent.attrs.pop("style", None)
        for cell, number in zip(row, numeric, strict=False):
            if number:
                cell["class"] = "number"
        for cell in row:
            if not cell.get_text(strip=True):
                cell.name = "td"
