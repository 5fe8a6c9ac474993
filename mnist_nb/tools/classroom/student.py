"""Make what learners get: the exercises without solutions, and a zip with all they need.

The command `exercises` calls `write_exercises`, and `student` calls `make_student`; `grading` uses
`student_version`.
"""

import copy
import datetime
import io
import zipfile
from pathlib import Path

import nbformat
import yaml

from mnist_nb.errors import Problem
from mnist_nb.files import write_whole
from mnist_nb.tools.original import ORIGINALS
from mnist_nb.tools.project import STUB, TEXT_STUB
from mnist_nb.tools.verify.normal_form import serialised

# files for the zip, copied unchanged; README.md comes from _README
_ALONG = ("LICENSE", "Makefile", "environment.yml", "pyproject.toml", "jupyter/**/*",
          "notebooks/*.ipynb", "notebooks/*.md", "studies/*.csv", "studies/experiments/*.yaml",
          "mnist_nb/**/*")  # fmt: skip
_README = "docs/learners.md"
_FOLDER = "mnist-nb"
ZIP = "mnist-nb-student.zip"


class StudentError(Problem):
    """The exercises for learners cannot be made."""


def require_nbgrader() -> None:
    """Raise StudentError if nbgrader is not installed."""
    try:
        import nbgrader  # noqa: F401
    except ImportError as error:
        raise StudentError(
            "nbgrader is not installed in this environment; run `make exercises`, `make "
            "student` or `make grade`, which install it into build/nbgrader"
        ) from error


def student_version(original: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy of an exercise: checks locked, no solutions, hidden tests or outputs.

    Cells of a task have the tag raises-exception, so that "Run All" goes on below a task
    that is still open.
    """
    require_nbgrader()
    from nbgrader import preprocessors, utils

    notebook, resources = copy.deepcopy(original), {}
    for step in (
        preprocessors.LockCells(),
        preprocessors.ClearSolutions(code_stub={"python": STUB}, text_stub=TEXT_STUB),
        preprocessors.ClearHiddenTests(),
        preprocessors.ClearOutput(),
    ):
        notebook, resources = step.preprocess(notebook, resources)
    for cell in notebook.cells:
        if cell.cell_type == "code" and (utils.is_grade(cell) or utils.is_solution(cell)):
            cell.metadata.tags = sorted({*cell.metadata.get("tags", []), "raises-exception"})
    return notebook


def learners_exercises(project: Path) -> dict[str, bytes]:
    """Return the learners' version of each original in notebooks/solutions, by file name.

    Raises:
        StudentError: nbgrader is not installed, or `project` has no originals.
    """
    originals = sorted((project / "notebooks" / "solutions").glob("*.ipynb"))
    if not originals:
        raise StudentError(
            f"there are no exercises in {project / 'notebooks' / 'solutions'}; copy the original "
            ".ipynb files there, with their solutions"
        )
    return {
        path.name: serialised(student_version(nbformat.read(path, as_version=4))).encode()
        for path in originals
    }


def write_exercises(project: Path) -> dict[Path, bool]:
    """Write notebooks/exercises again; return for each file whether it has changed.

    Answers in these files are overwritten.

    Raises:
        StudentError: nbgrader is not installed, or `project` has no originals.
    """
    folder, changed = project / "notebooks" / "exercises", {}
    contents = learners_exercises(project)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / name
        changed[path] = not path.is_file() or path.read_bytes() != content
        if changed[path]:
            write_whole(path, content)
    return changed


def make_student(project: Path, output: Path) -> Path:
    """Write `output`/exercises/ and a zip with all that a learner needs; return its path.

    Raises:
        StudentError: nbgrader is not installed, or `project` has no originals.
    """
    exercises, content = learners_exercises(project), student_zip(project)
    (output / "exercises").mkdir(parents=True, exist_ok=True)
    for name, exercise in exercises.items():
        write_whole(output / "exercises" / name, exercise)
    write_whole(output / ZIP, content)
    return output / ZIP


def student_zip(project: Path, more: dict[str, bytes] | None = None) -> bytes:
    """Return a zip with all that a learner needs, and `more` files, by name.

    The exercises come from the originals, so answers that someone has tried are not in them. If
    the project is unchanged, the zip has the same bytes.

    Raises:
        StudentError: nbgrader is not installed, or `project` has no originals or no release.
    """
    contents = {"README.md": (project / _README).read_bytes()}
    for pattern in _ALONG:
        for path in project.glob(pattern):
            if path.is_file() and "__pycache__" not in path.parts:
                contents[path.relative_to(project).as_posix()] = path.read_bytes()
    for name, content in learners_exercises(project).items():
        contents[f"notebooks/exercises/{name}"] = content
    originals = {name.removeprefix("notebooks/"): content for name, content in contents.items()
                 if name.endswith(".ipynb")}  # fmt: skip
    date = release_date(project)
    contents |= {ORIGINALS: _zip_of(originals, date), **(more or {})}
    return _zip_of({f"{_FOLDER}/{name}": content for name, content in contents.items()}, date)


def release_date(project: Path) -> tuple[int, int, int, int, int, int]:
    """Return the date of the release in CITATION.cff, at noon, as zip files have it.

    Raises:
        StudentError: the file does not give the date.
    """
    path = project / "CITATION.cff"
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    released = known.get("date-released") if isinstance(known, dict) else None
    if not isinstance(released, datetime.date):
        raise StudentError(
            f"{path} has no date-released, which the files in the zip get; add a line such as "
            "date-released: 2026-11-28"
        )
    return released.year, released.month, released.day, 12, 0, 0


def _zip_of(contents: dict[str, bytes], date: tuple[int, int, int, int, int, int]) -> bytes:
    """Return a zip of `contents`, by name; every file in it has this `date`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, date)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return packed.getvalue()
