"""Write files atomically, so that a file appears complete or not at all; compute checksums."""

import errno
import hashlib
import os
from functools import cache
from pathlib import Path
from threading import get_ident

PROJECT = Path(__file__).parents[1]


def write_whole(path: Path, content: bytes, new: bool = False) -> None:
    """Write `content` to `path` atomically; with `new`, fail if `path` exists.

    A link stays, and what it leads to is written. A device or pipe, such as /dev/null, is written
    into: a file in its place would be there for all programs, until the next start.

    Raises:
        OSError: `path` cannot be written, or `new` is set and it exists. An old file is kept.
    """
    if not new and path.is_symlink():
        path = Path(os.path.realpath(path))
    if not new and os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        path.write_bytes(content)
        return
    # a part of the name, as file systems limit the length of names
    part = path.with_name(f".{path.name[:40]}.{os.getpid()}.{get_ident()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if new:
            _name_anew(part, path)
        else:
            part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def _name_anew(part: Path, path: Path) -> None:
    try:
        path.hardlink_to(part)
    except OSError:  # `path` exists, or it is a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        part.replace(path)


def sha256(path: Path) -> str:
    """Return a file's SHA-256 checksum, cached until its size or change time differs."""
    return _sha256(path, path.stat().st_size, path.stat().st_ctime_ns)


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
