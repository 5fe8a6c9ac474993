"""Make what learners get: the exercises without solutions, and a zip with all they need.

The command `exercises` calls `write_exercises`, and `student` calls `make_student`; `grading` uses
`student_version`.
"""

import copy
import io
import zipfile
from pathlib import Path

import nbformat

from mnist_nb.errors import Problem
from mnist_nb.files import write_whole
from mnist_nb.tools.project import STUB, TEXT_STUB
from mnist_nb.tools.verify.normal_form import serialised

# files for the zip, copied unchanged; README.md comes from _README
_ALONG = ("LICENSE", "Makefile", "environment.yml", "pyproject.toml", "jupyter/**/*",
          "notebooks/*.ipynb", "notebooks/*.md", "studies/*.csv", "studies/experiments/*.yaml",
          "mnist_nb/**/*")  # fmt: skip
_README = "docs/learners.md"
_FOLDER = "mnist-nb"


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

    Cells that earn points have the tag raises-exception, so that "Run All" goes on below a task
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
        if utils.is_grade(cell) and cell.cell_type == "code":
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

    The exercises come from the originals, so answers that someone has tried are not in them.

    If the project is unchanged, the zip has the same bytes.

    Raises:
        StudentError: nbgrader is not installed, or `project` has no originals.
    """
    exercises = learners_exercises(project)
    contents = {"README.md": (project / _README).read_bytes()}
    for pattern in _ALONG:
        for path in project.glob(pattern):
            if path.is_file() and "__pycache__" not in path.parts:
                contents[path.relative_to(project).as_posix()] = path.read_bytes()
    (output / "exercises").mkdir(parents=True, exist_ok=True)
    for name, content in exercises.items():
        write_whole(output / "exercises" / name, content)
        contents[f"notebooks/exercises/{name}"] = content
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(f"{_FOLDER}/{name}")  # ZipInfo's default date, 1980
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    zipped = output / "mnist-nb-student.zip"
    write_whole(zipped, packed.getvalue())
    return zipped
