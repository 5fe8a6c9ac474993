"""Make what learners get: the exercises without solutions, and a zip with all they need.

The command `student` calls `make_student`; `grading` uses `student_version`.
"""

import copy
import io
import zipfile
from pathlib import Path

import nbformat

from mnist_nb.errors import Problem
from mnist_nb.files import write_whole
from mnist_nb.tools.verify.normal_form import serialised

# replaces a solution; a check that runs it fails with this message
STUB = '# your code\ncheck(False, "this exercise is not solved yet")'
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
            "nbgrader is not installed in this environment; run `make student` or `make grade`, "
            "which install it into build/nbgrader"
        ) from error


def student_version(original: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy of an exercise: checks locked, no solutions, hidden tests or outputs."""
    require_nbgrader()
    from nbgrader import preprocessors

    notebook, resources = copy.deepcopy(original), {}
    for step in (
        preprocessors.LockCells(),
        preprocessors.ClearSolutions(code_stub={"python": STUB}),
        preprocessors.ClearHiddenTests(),
        preprocessors.ClearOutput(),
    ):
        notebook, resources = step.preprocess(notebook, resources)
    return notebook


def make_student(project: Path, output: Path) -> Path:
    """Write `output`/exercises/ and a zip with all that a learner needs; return its path.

    If the project is unchanged, the zip has the same bytes.

    Raises:
        StudentError: nbgrader is not installed, or `project` has no exercises.
    """
    originals = sorted((project / "notebooks" / "exercises").glob("*.ipynb"))
    if not originals:
        raise StudentError(
            f"there are no exercises in {project / 'notebooks' / 'exercises'}; copy the original "
            ".ipynb files there, with their solutions"
        )
    contents = {"README.md": (project / _README).read_bytes()}
    for pattern in _ALONG:
        for path in project.glob(pattern):
            if path.is_file() and "__pycache__" not in path.parts:
                contents[path.relative_to(project).as_posix()] = path.read_bytes()
    (output / "exercises").mkdir(parents=True, exist_ok=True)
    for path in originals:
        student = serialised(student_version(nbformat.read(path, as_version=4))).encode()
        write_whole(output / "exercises" / path.name, student)
        contents[f"notebooks/exercises/{path.name}"] = student
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(f"{_FOLDER}/{name}")  # ZipInfo's default date, 1980
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    zipped = output / "mnist-nb-student.zip"
    write_whole(zipped, packed.getvalue())
    return zipped
