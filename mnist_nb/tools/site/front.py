"""Write the parts of docs/ that come from notebooks: a table, and the picture in README.md.

`make docs` calls `write_docs`; a test checks that the committed files are up to date.
"""

import base64
import io
import re
import tokenize
from pathlib import Path

import nbformat
from PIL import Image

from mnist_nb.errors import ParameterError
from mnist_nb.files import write_whole
from mnist_nb.tools.runs.declared import declared_parameters, named_checker
from mnist_nb.tools.site.html import PublishError

PAGE = "docs/running.md"  # has the table of parameters
PICTURE = "docs/overview.png"
_START, _END = "<!-- parameters: `make docs` writes this table -->\n", "<!-- end of parameters -->"
_DRAWN = ("digits", "figure")  # ids of the cells of the walkthrough with the pictures


def parameter_table(notebook) -> str:
    """Return the parameters of `notebook` as a Markdown table.

    Names, defaults and meanings come from the cell tagged `parameters` and its comments; allowed
    values come from the error of the function that checks the parameters.

    Raises:
        PublishError: a parameter has no comment, or the function does not check it.
    """
    comments = _comments(notebook)
    rows = [
        "| parameter | default | what the notebook says | it takes |",
        "| --- | --- | --- | --- |",
    ]
    for name, declared in declared_parameters(notebook).items():
        if name not in comments:
            raise PublishError(
                f"the parameter {name} needs a comment on its line that says what it is; add one "
                "in the cell tagged 'parameters'"
            )
        takes = _takes(named_checker(notebook), name)
        rows.append(f"| `{name}` | `{declared.default!r}` | {comments[name]} | {takes} |")
    return "\n".join(rows) + "\n"


def _comments(notebook) -> dict[str, str]:
    """Return name -> comment on the same line, for the cell tagged `parameters`."""
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    tokens = list(tokenize.generate_tokens(io.StringIO(cell.source).readline))
    lines = {token.start[0]: token.string for token in reversed(tokens) if token.start[1] == 0}
    return {
        lines[token.start[0]]: token.string.strip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT and token.start[1]
    }


def _takes(check, name: str) -> str:
    """Return the allowed values of a parameter, from the error that an impossible value raises."""
    try:
        check({name: object()})
    except ParameterError as error:
        return str(error).rpartition("; it takes ")[2]
    raise PublishError(f"{check.__name__} does not check the parameter {name}; add a rule for it")


def with_table(text: str, table: str) -> str:
    """Return the page `text` with `table` between its two marker lines.

    Raises:
        PublishError: the markers do not occur once each, in this order.
    """
    parts = re.split(f"({re.escape(_START)}|{re.escape(_END)})", text)
    if parts[1::2] != [_START, _END]:
        raise PublishError(f"{PAGE} needs the lines {_START.strip()} and {_END}, once each")
    return "".join([*parts[:2], table, *parts[3:]])


def overview(walkthrough) -> Image.Image:
    """Return two stored figures of the `walkthrough` in one image: digits, and losses below.

    Raises:
        PublishError: one of the two cells is missing, or does not have exactly one picture.
    """
    found = [_picture(walkthrough, cell) for cell in _DRAWN]
    width = max(picture.width for picture in found)
    whole = Image.new("RGB", (width, sum(picture.height for picture in found)), "white")
    top = 0
    for picture in found:
        whole.paste(picture.convert("RGB"), ((width - picture.width) // 2, top))
        top += picture.height
    return whole


def _picture(notebook, cell_id: str) -> Image.Image:
    outputs = [o.get("data", {}) for c in notebook.cells if c.id == cell_id for o in c.outputs]
    found = [data["image/png"] for data in outputs if "image/png" in data]
    if len(found) != 1:
        raise PublishError(
            f"the walkthrough has no cell with the id {cell_id!r} and one picture; correct the "
            "ids in _DRAWN in mnist_nb/tools/site/front.py"
        )
    return Image.open(io.BytesIO(base64.b64decode(found[0])))


def write_docs(project: Path) -> list[str]:
    """Write the table and the picture of `project`; return the paths of those that changed.

    Raises:
        PublishError: the page or its markers are missing, or a notebook has no such picture.
    """
    if not (project / PAGE).is_file():
        raise PublishError(
            f"Cannot find {PAGE} in {project}. Run this in a clone of the repository; the "
            "learners' zip does not have that page"
        )
    changed = []
    walkthrough = nbformat.read(project / "notebooks" / "00_walkthrough.ipynb", as_version=4)
    text = (project / PAGE).read_text(encoding="utf-8")
    new = with_table(text, parameter_table(walkthrough))
    if new != text:
        write_whole(project / PAGE, new.encode())
        changed.append(PAGE)
    picture, path = overview(walkthrough), project / PICTURE
    if not path.is_file() or Image.open(path).tobytes() != picture.tobytes():
        packed = io.BytesIO()
        picture.save(packed, "PNG", optimize=True)
        write_whole(path, packed.getvalue())
        changed.append(PICTURE)
    return changed
