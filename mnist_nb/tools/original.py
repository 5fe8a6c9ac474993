"""Bring back the original of a notebook, and keep the file that is there.

Learners have the originals in originals.zip, which lies in their zip; in a clone, git has them.
"""

import itertools
import subprocess
import zipfile
from pathlib import Path

from mnist_nb.errors import Problem
from mnist_nb.files import PROJECT, write_whole
from mnist_nb.tools.new_files import write_new

ORIGINALS = "originals.zip"


class OriginalError(Problem):
    """The original of a notebook cannot be brought back."""


def restore(notebook: str, project: Path = PROJECT) -> tuple[Path, Path | None]:
    """Put the original of `notebook` in its place; return its path and where the old file is.

    The old file is kept beside it, as NAME-mine.ipynb. The second path is None if there was no
    file, and the notebook's own path if it is the original already.

    Raises:
        OriginalError: there is no such original, or a file cannot be written.
    """
    originals = _zipped(project) or _committed(project)
    if not originals:
        raise OriginalError(
            f"{project} has neither {ORIGINALS} nor a commit with notebooks; unpack the zip again "
            "in a different folder, and take the notebook from there"
        )
    name = _name_of(notebook, originals, project)
    content, path = originals[name](), project / "notebooks" / name
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_new(path, content)
            return path, None
        mine = path.read_bytes()
        if mine == content:
            return path, path
        kept = _keep(path, mine)
        write_whole(path, content)
    except OSError as error:
        raise OriginalError(
            f"{error.filename or path} cannot be written ({error.strerror}); your notebook is "
            "unchanged"
        ) from error
    return path, kept


def _keep(path: Path, content: bytes) -> Path:
    """Write `content` to a new file beside `path`; return its path."""
    for number in itertools.count(1):
        kept = path.with_name(f"{path.stem}-mine{f'-{number}' if number > 1 else ''}{path.suffix}")
        try:
            write_new(kept, content)
        except FileExistsError:
            continue
        return kept
    raise AssertionError("count() never ends")


def _name_of(notebook: str, originals: dict, project: Path) -> str:
    """Return the name in `originals` that `notebook` means: a name, or a path."""
    given = Path(notebook)
    if given.is_absolute() and given.is_relative_to(project / "notebooks"):
        given = given.relative_to(project / "notebooks")
    name = f"{given.as_posix().removeprefix('notebooks/').removesuffix('.ipynb')}.ipynb"
    if name in originals:
        return name
    known = ", ".join(name.removesuffix(".ipynb") for name in sorted(originals))
    raise OriginalError(f"there is no original of {notebook!r}; give one of {known}")


def _zipped(project: Path) -> dict:
    """Return name -> function that returns the content, of the notebooks in originals.zip."""
    path = project / ORIGINALS
    if not path.is_file():
        return {}
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise OriginalError(f"{path} is damaged ({error}); take it from your zip again") from error
    return {name: lambda name=name: archive.read(name) for name in archive.namelist()}


def _committed(project: Path) -> dict:
    """Return name -> function that returns the content, of the notebooks in the last commit."""

    def git(*words: str) -> bytes:
        done = subprocess.run(["git", "-C", str(project), *words], capture_output=True)
        return done.stdout if done.returncode == 0 else b""

    try:
        names = git("ls-tree", "-rz", "--name-only", "HEAD", "notebooks/").decode().split("\0")
    except OSError:  # git is not installed
        return {}
    names = [name.removeprefix("notebooks/") for name in names if name.endswith(".ipynb")]
    return {name: lambda name=name: git("show", f"HEAD:./notebooks/{name}") for name in names}
