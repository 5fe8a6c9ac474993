"""Make a kit for a room without a network: a folder for a stick, with a page that says what to do.

It has the learners' zip, the digits, the learners' site, and the wheels for the systems named. The
zip lists the wheels with their checksums, and `environment` installs none that differs.
"""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from mnist_nb.data import CHECKSUMS, fetch
from mnist_nb.files import write_whole
from mnist_nb.tools.checksums import sha256
from mnist_nb.tools.classroom.student import ZIP, student_zip
from mnist_nb.tools.classroom.targets import SYSTEMS, KitError, Target
from mnist_nb.tools.classroom.wheels import Wheels, listed
from mnist_nb.tools.environment import WHEELS

PAGE = "START-HERE.txt"
_SUMS = "SHA256SUMS"
_UNFINISHED = "This folder is not complete yet. Run `make kit` again.\n"


def make_kit(
    project: Path,
    folder: Path,
    wanted: list[Target],
    download: Callable[[Path, list[Target]], Wheels],
    site: Callable[[Path, Path], object],
) -> Wheels:
    """Make a kit in `folder`; return its wheels, and what could not be had.

    Args:
        project: this project's folder.
        folder: a new folder, or one with an earlier kit, whose wheels are used again.
        wanted: the systems and Pythons to bring wheels for.
        download: puts the wheels into a folder.
        site: writes the learners' site into a folder, with the zip in the second folder.

    Raises:
        KitError: `folder` has other things in it or cannot be written, or no target is complete.
    """
    try:
        _begin(folder)
        wheels = download(folder / "wheels", wanted)
        if not wheels.files:
            raise KitError(f"no wheels could be had: {'; '.join(wheels.problems)}")
        more = {WHEELS: listed(wheels)}
        write_whole(folder / ZIP, student_zip(project, more))
        _copy_data(folder / "data" / "MNIST" / "raw")
        site(folder / "site", folder)
        sums = _sums(folder, wheels)
        write_whole(folder / _SUMS, sums.encode())
        write_whole(folder / PAGE, _page(folder, wheels).encode())
    except OSError as error:
        raise KitError(
            f"{error.filename or folder} cannot be written ({error.strerror}); make room there, "
            "or name a different folder with -o"
        ) from error
    return wheels


def size_of(folder: Path) -> int:
    """Return the bytes of all files of the kit in `folder`."""
    lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
    return sum((folder / line.partition("  ")[2]).stat().st_size for line in lines)


def _begin(folder: Path) -> None:
    """Make `folder`, or take an earlier kit; say in it that the kit is not complete."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PAGE).is_file():
        raise KitError(f"{folder} has other things in it; name a new folder with -o")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / PAGE, _UNFINISHED.encode())
    (folder / _SUMS).unlink(missing_ok=True)
    shutil.rmtree(folder / "site", ignore_errors=True)


def _copy_data(folder: Path) -> None:
    """Write MNIST's files into `folder`, gzipped, from this user's data, which is checked."""
    raw = Path(fetch("MNIST")) / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for name in CHECKSUMS["MNIST"]:
        write_whole(folder / f"{name}.gz", gzip.compress((raw / name).read_bytes(), 6, mtime=0))


def _sums(folder: Path, wheels: Wheels) -> str:
    """Return a line for each file of the kit but the page, as sha256sum writes it."""
    found = [folder / ZIP, *wheels.all]
    found += [path for part in ("data", "site") for path in (folder / part).rglob("*")]
    return "".join(
        f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(found) if path.is_file()
    )  # fmt: skip


def _page(folder: Path, wheels: Wheels) -> str:
    """Return the text of the page that says what to do."""
    template = Path(__file__).with_name(f"{PAGE}.j2").read_text(encoding="utf-8")
    sizes: dict[str, int] = {}
    for target, files in wheels.files.items():
        size = sum(path.stat().st_size for path in files)
        sizes[target.system] = max(size, sizes.get(target.system, 0))
    names = list(sizes)
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template).render(
        systems={SYSTEMS[name].words: gigabytes(size) for name, size in sizes.items()},
        unix=names != ["windows"], windows="windows" in names, only_windows=names == ["windows"],
        pythons=list(dict.fromkeys(target.python for target in wheels.files)),
        size=gigabytes(size_of(folder)), zip_sum=sha256(folder / ZIP),
    )  # fmt: skip


def gigabytes(size: float) -> str:
    """Return a number of bytes in words."""
    return f"{size / 1e9:.1f} GB"
