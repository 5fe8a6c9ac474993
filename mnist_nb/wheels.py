"""Wheels from the package index, held to their SHA-256, for the files in them.

pip fetches them: it knows this machine's index, mirrors and proxies, and it is everywhere where
this package is.
"""

import contextlib
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from platformdirs import user_cache_path

from mnist_nb.errors import Problem
from mnist_nb.files import write_whole


class WheelError(Problem):
    """A wheel could not be had from the package index."""


def download(requirement: str, sha256: str) -> bytes:
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


def kept(requirement: str, sha256: str) -> zipfile.ZipFile:
    """The same wheel, opened; after the first time from this user's cache, without a network.

    Raises:
        WheelError: it is not in the cache, or not right there, and cannot be downloaded.
    """
    name = f"{requirement.replace('-', '_').replace('==', '-')}-py3-none-any.whl"
    path = user_cache_path("mnist-nb", appauthor=False) / name
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        try:
            content = download(requirement, sha256)
        except WheelError as error:
            raise WheelError(
                f"{requirement} could not be had from the package index ({error}); it is needed "
                f"once: try again with a network, or copy {name} into {path.parent}"
            ) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise WheelError(f"the package index's {requirement} does not have the known SHA-256")
        with contextlib.suppress(OSError):  # no cache: it is fetched again the next time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
    return zipfile.ZipFile(io.BytesIO(content))
