"""Files that appear under their names when they are whole, or not at all."""

import os
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def write_whole(path: Path, content: bytes, new: bool = False) -> None:
    """Write `content` aside, then give it its name; with `new`, a name that nothing has yet.

    Raises:
        OSError: `path` cannot be written; it is what it was before, and nothing is left aside.
    """
    part = path.with_name(f".{path.name[:40]}.{os.getpid()}.part")  # names have an end
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


def cut(name: str, size: int) -> str:
    """Return the start of `name` that takes at most `size` bytes in a folder."""
    return name.encode(errors="surrogateescape")[:size].decode(errors="ignore")


def _name_anew(part: Path, path: Path) -> None:
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        part.replace(path)
