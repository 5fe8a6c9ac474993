"""Write files atomically, so that a file appears complete or not at all."""

import os
from pathlib import Path
from threading import get_ident

PROJECT = Path(__file__).parents[1]


def write_whole(path: Path, content: bytes, new: bool = False) -> None:
    """Write `content` to `path` atomically; with `new`, fail if `path` exists.

    Raises:
        OSError: `path` cannot be written, or `new` is set and it exists. An old file is kept.
    """
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
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        part.replace(path)
