"""What README and docs/ take from the notebooks: the table of parameters and the picture.

`make docs` writes both; a test compares what is committed with what this module returns.
"""

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
from mnist_nb.tools.verify.pictures import pictures

PAGE = "docs/running.md"  # where the table stands
PICTURE = "docs/overview.png"
_START, _END = "<!-- parameters: `make docs` writes this table -->\n", "<!-- end of parameters -->"
_DRAWN = {"04_data": "looks-figure", "00_walkthrough": "figure"}  # notebook -> cell with a picture


def parameter_table(notebook) -> str:
    """Return the parameters of `notebook` as a Markdown table.

    Names, defaults and meanings come from its cell tagged `parameters`, whose comments say what
    each one is; what each one takes comes from the function that checks them.

    Raises:
        PublishError: a parameter has no comment, or is not checked.
    """
    comments = _comments(notebook)
    rows = [
        "| parameter | default | what the notebook says | it takes |",
        "| --- | --- | --- | --- |",
    ]
    for name, declared in declared_parameters(notebook).items():
        if name not in comments:
            raise PublishError(f"the parameter {name} needs a comment that says what it is")
        takes = _takes(named_checker(notebook), name)
        rows.append(f"| `{name}` | `{declared.default!r}` | {comments[name]} | {takes} |")
    return "\n".join(rows) + "\n"


def _comments(notebook) -> dict[str, str]:
    """Return name -> the comment that stands behind it, of the cell tagged `parameters`."""
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    tokens = list(tokenize.generate_tokens(io.StringIO(cell.source).readline))
    lines = {token.start[0]: token.string for token in reversed(tokens) if token.start[1] == 0}
    return {
        lines[token.start[0]]: token.string.strip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT and token.start[1]
    }


def _takes(check, name: str) -> str:
    """Return what the error says that the parameter takes, for a value that none takes."""
    try:
        check({name: object()})
    except ParameterError as error:
        return str(error).rpartition("; it takes ")[2]
    raise PublishError(f"{check.__name__} does not check the parameter {name}")


def with_table(text: str, table: str) -> str:
    """Return the page `text` with `table` in place of the one between its two marks.

    Raises:
        PublishError: the marks are not there, once each and in this order.
    """
    parts = re.split(f"({re.escape(_START)}|{re.escape(_END)})", text)
    if parts[1::2] != [_START, _END]:
        raise PublishError(f"{PAGE} needs the lines {_START.strip()} and {_END}, once each")
    return "".join([*parts[:2], table, *parts[3:]])


def overview(notebooks: Path) -> Image.Image:
    """Return the digits of chapter 04 beside the losses of the walkthrough, as stored in both.

    Raises:
        PublishError: one of the two cells is gone, or holds no picture.
    """
    found = [_picture(notebooks / f"{stem}.ipynb", cell) for stem, cell in _DRAWN.items()]
    height = max(picture.height for picture in found)
    whole = Image.new("RGB", (sum(picture.width for picture in found), height), "white")
    left = 0
    for picture in found:
        whole.paste(picture.convert("RGB"), (left, (height - picture.height) // 2))
        left += picture.width
    return whole


def _picture(path: Path, cell_id: str) -> Image.Image:
    cells = nbformat.read(path, as_version=4).cells
    found = pictures([o for c in cells if c.id == cell_id for o in c.get("outputs", [])])
    if len(found) != 1:
        raise PublishError(f"{path.name} has no cell {cell_id!r} with one picture; name another")
    return found[0]


def write_docs(project: Path) -> list[str]:
    """Write the table and the picture of `project`; return the paths of those that changed.

    Raises:
        PublishError: the page is missing or has no place for the table, or a notebook has no
            such picture.
    """
    if not (project / PAGE).is_file():
        raise PublishError(f"Cannot find {PAGE} in {project}. Learners get no such page")
    changed = []
    walkthrough = nbformat.read(project / "notebooks" / "00_walkthrough.ipynb", as_version=4)
    text = (project / PAGE).read_text(encoding="utf-8")
    new = with_table(text, parameter_table(walkthrough))
    if new != text:
        write_whole(project / PAGE, new.encode())
        changed.append(PAGE)
    picture, path = overview(project / "notebooks"), project / PICTURE
    if not path.is_file() or Image.open(path).tobytes() != picture.tobytes():
        packed = io.BytesIO()
        picture.save(packed, "PNG", optimize=True)
        write_whole(path, packed.getvalue())
        changed.append(PICTURE)
    return changed
