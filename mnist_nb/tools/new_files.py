"""Write a file where nothing is yet, complete or not at all."""

import errno
import os
from pathlib import Path
from threading import get_ident

from mnist_nb.files import write_whole


def write_new(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically, unless something is there.

    Raises:
        FileExistsError: something is there; it is kept.
        OSError: `path` cannot be written.
    """
    part = path.with_name(f".{path.name[:40]}.{os.getpid()}.{get_ident()}.new.part")
    try:
        write_whole(part, content)
        _name_anew(part, path)
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
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        part.replace(path)
