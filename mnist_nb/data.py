"""Find and download the files of MNIST and three similar datasets, and check them.

Mirrors `download=True` in the source's cell In [18], and stores the files where torchvision
looks for them: `<root>/<dataset>/raw/`. Files of MNIST and FashionMNIST are checked against
their SHA-256 checksums before they are stored. Those of KMNIST and QMNIST are checked against
torchvision's MD5 checksums if they are downloaded, but not if they come from this machine.
"""

import hashlib
import logging
import os
from pathlib import Path

from filelock import FileLock
from platformdirs import user_data_path

from mnist_nb.errors import DataError, Problem
from mnist_nb.files import PROJECT, write_whole
from mnist_nb.sources import archives, sources_of

DATASETS = ("MNIST", "FashionMNIST", "KMNIST", "QMNIST")

_LINES = [line.split() for line in Path(__file__).with_name("SHA256SUMS").read_text().splitlines()]
# dataset -> file name -> SHA-256 checksum, of the datasets whose checksums we know
CHECKSUMS = {
    dataset: {Path(path).name: sha256 for sha256, path in _LINES if path.startswith(f"{dataset}/")}
    for dataset in ("MNIST", "FashionMNIST")
}

log = logging.getLogger("mnist_nb")


def data_folder(data_dir: str | os.PathLike | None = None) -> Path:
    """Return the absolute path of the root folder of the data.

    It is `data_dir` if given, else the environment variable `MNIST_NB_DATA` (a relative path
    starts at this project's folder), else the user's data folder.
    """
    if data_dir is not None:
        return Path(os.path.expanduser(data_dir)).absolute()
    if from_environment := os.environ.get("MNIST_NB_DATA"):
        return PROJECT / os.path.expanduser(from_environment)
    return user_data_path("mnist-nb", appauthor=False)


def fetch(dataset: str = "MNIST", data_dir: str | os.PathLike | None = None) -> str:
    """Make sure that all files of `dataset` are there; return the root folder of the data.

    The log says what is missing or wrong. Those files (of KMNIST and QMNIST: all files) then come
    from the first source that has them.

    Raises:
        DataError: no source had the files, or the folder cannot be written.
    """
    root = data_folder(data_dir)
    raw = root / dataset / "raw"
    try:
        if _faults(dataset, raw):
            raw.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{dataset}.lock"):  # one process at a time downloads
                for part in raw.glob(".*.part"):
                    part.unlink()  # left by a fetch that was killed
                _fetch_files(dataset, raw)
    except OSError as error:
        raise DataError(
            f"the data folder {root} cannot be written ({error.strerror or error}); "
            "choose another with data_dir, --data-dir or MNIST_NB_DATA"
        ) from error
    return str(root)


def _fault(path: Path, checksum: str) -> str | None:
    """Return what is wrong with the file at `path`, or None if it passes the check."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{path.name} is missing" if not path.exists() else f"{path.name}: {error.strerror}"
    if hashlib.sha256(content).hexdigest() != checksum:
        return f"{path.name} ({len(content):,} bytes) has the wrong SHA-256 checksum"
    return None


def _faults(dataset: str, raw: Path) -> dict[str, str]:
    """Return name -> what is wrong, for wrong files (KMNIST, QMNIST: for all files or none)."""
    if dataset in CHECKSUMS:
        found = {name: _fault(raw / name, known) for name, known in CHECKSUMS[dataset].items()}
        return {name: fault for name, fault in found.items() if fault}
    from torchvision import datasets  # slow to import, so only where it is needed

    try:
        for train in (True, False):
            getattr(datasets, dataset)(raw.parents[1], train=train)
    except (RuntimeError, ValueError, OSError):
        fault = f"{dataset} is missing, or torchvision cannot read it"
        return dict.fromkeys(archives(dataset), fault)
    return {}


def _fetch_files(dataset: str, raw: Path) -> None:
    """Fetch what is missing or wrong in `raw` from the first source that has it."""
    known = CHECKSUMS.get(dataset, {})
    tried = []
    for source, contents in sources_of(dataset, raw):
        faults = _faults(dataset, raw)
        if not faults:
            return
        log.info("%s: trying %s", "; ".join(dict.fromkeys(faults.values())), source)
        try:
            for name, content in contents(list(faults)):
                checksum = hashlib.sha256(content).hexdigest()
                if checksum != known.get(name, checksum):
                    raise DataError(f"its {name} ({len(content):,} bytes) has the wrong SHA-256")
                write_whole(raw / name, content)
                log.info("%s is fetched", name)
        except Problem as error:
            tried.append(f"  - {source}: {error}")
    if faults := _faults(dataset, raw):
        said = "; ".join(dict.fromkeys(faults.values()))
        raise DataError("\n".join([
            f"the files of {dataset} could not be downloaded: {said}.",
            "These sources were tried:",
            *tried,
            f"Try again later, or copy these files from a machine that has them into {raw}",
            *[f"  - {name}, or {name}.gz" for name in archives(dataset)],
            f"and run `mnist-nb data --dataset {dataset} --data-dir '{raw.parents[1]}'`, which "
            + ("checks them." if known else "tests whether torchvision can read them."),
        ]))  # fmt: skip
