"""Read, write and list notebooks: files, and objects at addresses that papermill can reach."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mnist_nb.tools import new_files


def is_address(place: str | Path) -> bool:
    """Return whether `place` is an address for papermill, such as s3://..., not a path."""
    return "://" in str(place)


def at(folder: str, name: str) -> str:
    """Return the address of `name` in the folder at the address `folder`."""
    return f"{folder.rstrip('/')}/{name}"


def read(place: str | Path) -> bytes:
    """Return what is stored at a path or an address; each store raises its own errors."""
    if not is_address(place):
        with open(place, "rb") as file:
            return file.read()
    if place.startswith("s3://"):
        return _s3_object(place).get()["Body"].read()
    from papermill.iorw import papermill_io  # slow to import, so only for addresses

    return papermill_io.read(place).encode()


def write(text: str, address: str) -> None:
    """Write `text` to `address`; each store raises its own errors."""
    from papermill.iorw import papermill_io

    papermill_io.write(text, address)


def probe(folder: str) -> None:
    """Write a small file, `.sweep.json`, to the address `folder`; raise what its store raises."""
    write("{}", at(folder, ".sweep.json"))


def write_new(place: Path | str, content: bytes) -> None:
    """Write a new notebook to a path or an address.

    Raises:
        FileExistsError: something is there.
        OSError, or an error of the store: it cannot be written.
    """
    if not is_address(place):
        with contextlib.suppress(OSError):  # reported when the file is written
            place.parent.mkdir(parents=True, exist_ok=True)  # removed during a run, for example
        new_files.write_new(place, content)
        return
    try:
        read(place)
    except Exception as error:  # each store has its own error for what is not there
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise
        write(content.decode(), place)
    else:
        raise FileExistsError(place)


def notebooks_in(places: list[Path | str]) -> Iterator[Path | str]:
    """Yield the notebooks in `places`, and those in folders; skip hidden (unfinished) ones."""
    for place in places:
        if is_address(place):
            yield from _notebooks_at(place)
        elif os.path.isdir(place):
            yield from map(Path, _notebooks_below(place))
        else:
            yield Path(place)


def _notebooks_below(folder: Path | str) -> list[str]:
    """Return the notebooks below `folder` in order; for thousands, `rglob` takes a while."""
    found = [os.path.join(place, name) for place, folders, files in os.walk(folder)
             for name in files + folders if _is_shown(place, name)]  # fmt: skip
    return sorted(found, key=lambda path: path.split(os.sep))


def _is_shown(folder: str, name: str) -> bool:
    """Return whether `name` is a notebook, and neither it nor its folder is hidden."""
    if not name.endswith(".ipynb") or name.startswith("."):
        return False
    last = os.path.basename(folder.rstrip("/"))
    return not last.startswith(".") or last in (".", "..")


def _notebooks_at(address: str) -> Iterator[str]:
    """Yield the notebook at `address`, or those below it; each store raises its own errors."""
    if address.endswith(".ipynb"):
        yield address
        return
    below = _below_on_s3 if address.startswith("s3://") else _below
    yield from sorted(found for found in below(address) if _is_shown(*found.rsplit("/", 1)))


def _below(folder: str) -> Iterator[str]:
    """Yield the addresses below `folder`, from papermill's lists of one level each.

    Stores differ in what they list: whole addresses, paths, or names alone.
    """
    from papermill.iorw import papermill_io

    for listed in papermill_io.listdir(folder):
        whole, own = (place.rstrip("/").rpartition("://")[2] for place in (listed, folder))
        if whole in ("", own):
            continue  # some stores list a folder, or a file, as its own content
        name = whole.rpartition("/")[2]
        if name.endswith(".ipynb"):
            yield at(folder, name)
        elif not name.endswith(".json"):
            yield from _below(at(folder, name))


def _below_on_s3(folder: str) -> Iterator[str]:
    """Yield the addresses below `folder` on S3, in one request for a thousand of them."""
    bucket, _, prefix = folder.rstrip("/").removeprefix("s3://").partition("/")
    for found in _s3().Bucket(bucket).objects.filter(Prefix=f"{prefix}/" if prefix else ""):
        yield f"s3://{bucket}/{found.key}"


def _s3_object(address: str):
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return _s3().Object(bucket, key)


def _s3():
    """Return papermill's connection to S3.

    Its own functions list level by level, send two requests for an object, and cannot read one
    of over 1 MiB if a piece of it ends within a character.
    """
    from papermill.iorw import S3

    return S3().s3


def reason(error: BaseException) -> str:
    """Return a short description of an error, on one line."""
    return getattr(error, "strerror", None) or " ".join(f"{type(error).__name__}: {error}".split())
