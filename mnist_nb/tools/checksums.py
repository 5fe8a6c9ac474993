"""SHA-256 checksums of files, as records, sweeps and kits list them."""

import hashlib
import os
from functools import cache
from pathlib import Path

from mnist_nb.data import DATASETS, data_folder


def sha256(path: Path) -> str:
    """Return a file's SHA-256 checksum, cached until its size or change time differs."""
    return _sha256(path, path.stat().st_size, path.stat().st_ctime_ns)


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_dataset(dataset: str, data_dir: str | os.PathLike | None = None) -> dict[str, str]:
    """Return file name -> SHA-256 checksum of the files of `dataset` that are on disk now.

    Return {} if `dataset` is not in DATASETS or `data_dir` is neither a path nor None: they may
    come from a notebook that uses parameters of these names for something else.
    """
    if dataset not in DATASETS or not isinstance(data_dir, str | os.PathLike | None):
        return {}
    raw = data_folder(data_dir) / dataset / "raw"
    files = (p for p in sorted(raw.glob("[!.]*-idx*")) if p.suffix != ".gz" and p.is_file())
    return {path.name: sha256(path) for path in files}
