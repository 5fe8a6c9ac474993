"""Write files atomically, so that a file appears complete or not at all."""

import os
from pathlib import Path
from threading import get_ident

PROJECT = Path(__file__).parents[1]


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically.

    A link stays, and what it leads to is written. A device or pipe, such as /dev/null, is written
    into: a file in its place would be there for all programs, until the next start.

    Raises:
        OSError: `path` cannot be written. An old file is kept.
    """
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        path.write_bytes(content)
        return
    # a part of the name, as file systems limit the length of names
    part = path.with_name(f".{path.name[:40]}.{os.getpid()}.{get_ident()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)
