"""What several tests need: the real data, the command, the committed notebooks."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from mnist_nb.data import fetch

PROJECT = Path(__file__).parents[1]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
WALKTHROUGH = PROJECT / "notebooks" / "00_walkthrough.ipynb"
# 640 + 160 real images: a run of a second
SLICE = {"train_size": "640", "val_size": "160", "epochs": "2"}


def words(parameters: dict) -> list[str]:
    """Parameters as words of the command line."""
    return [word for name, value in parameters.items() for word in ("-p", name, str(value))]


@pytest.fixture(scope="session")
def data_root() -> str:
    return fetch()


@pytest.fixture(scope="session")
def packed(data_root, tmp_path_factory) -> Path:
    """The four real files, as mirrors have them."""
    folder = tmp_path_factory.mktemp("packed")
    for path in Path(data_root, "MNIST", "raw").glob("*-ubyte"):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    return folder


def small_notebook(path, *sources, parameters=None):
    """A notebook with these code cells, the first tagged `parameters` if there are any."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if parameters is not None:
        cells.insert(0, nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def command(tmp_path):
    """Run `mnist-nb` as a person would, in an empty folder; the finished process."""

    def run(*arguments, cwd=tmp_path, **environment):
        return subprocess.run(
            [sys.executable, "-m", "mnist_nb.cli", *map(str, arguments)],
            capture_output=True, text=True, cwd=cwd, env=os.environ | environment, timeout=300,
        )  # fmt: skip

    return run
