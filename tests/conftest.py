"""Share fixtures and helpers among the tests: data, the command, notebooks, processes."""

import contextlib
import gzip
import os
import subprocess
import sys
import time
import tomllib
import uuid
from pathlib import Path

import nbformat
import psutil
import pytest

from mnist_nb.data import fetch

os.environ.pop("PYTEST_ADDOPTS", None)  # so that pytest processes started by tests ignore it
PROJECT = Path(__file__).parents[1]
CHAPTERS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = [*CHAPTERS, *sorted((PROJECT / "notebooks" / "solutions").glob("*.ipynb"))]
WALKTHROUGH = PROJECT / "notebooks" / "00_walkthrough.ipynb"
# parameters for a run with 640 + 160 real images, which takes a second
SLICE = {"train_size": "640", "val_size": "160", "epochs": "2"}


with (PROJECT / "pyproject.toml").open("rb") as file:
    OPTIONS = tomllib.load(file)["tool"]["pytest"]["ini_options"]["addopts"]
# plugins that notebooks do not use, and that are slow to import
WITHOUT = ["-p", "no:hypothesispytest", "-p", "no:pytest_mpl"]


def settings_for(folder: Path) -> list:
    """Return options for a pytest in `folder` with this project's settings, minus slow plugins."""
    options = f"addopts={OPTIONS.replace('--mpl ', '')}"
    return ["-c", PROJECT / "pyproject.toml", "--rootdir", folder, *WITHOUT, "-o", options]


def words(parameters: dict) -> list[str]:
    """Return parameters as arguments of the command line: -p NAME VALUE ..."""
    return [word for name, value in parameters.items() for word in ("-p", name, str(value))]


def pytest_collection_finish() -> None:
    """Compute with one thread, as kernels do: threads of several workers wait for each other."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_root() -> str:
    return fetch()


@pytest.fixture(scope="session")
def packed(data_root, tmp_path_factory) -> Path:
    """Return a folder with the four real files of MNIST, gzipped as on mirrors."""
    folder = tmp_path_factory.mktemp("packed")
    for path in Path(data_root, "MNIST", "raw").glob("*-ubyte"):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    return folder


def small_notebook(path, *sources, parameters=None):
    """Write a notebook of code cells to `path`; `parameters` becomes the first, tagged cell."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if parameters is not None:
        cells.insert(0, nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def without_figures(folder: Path) -> Path:
    """Copy the walkthrough into `folder` without what looks at the data and the trained network.

    Most of these cells draw, and that takes most of a short run.
    """
    notebook = nbformat.read(WALKTHROUGH, as_version=4)
    ids = [cell.id for cell in notebook.cells]
    looks = {"digits", *ids[ids.index("read") : ids.index("record-code")]}
    notebook.cells = [cell for cell in notebook.cells if cell.id not in looks]
    nbformat.write(notebook, folder / WALKTHROUGH.name)
    return folder / WALKTHROUGH.name


@pytest.fixture
def command(tmp_path):
    """Return a function that runs `mnist-nb` in an empty folder and returns the process."""

    def run(*arguments, cwd=tmp_path, **environment):
        return subprocess.run(
            [sys.executable, "-m", "mnist_nb.tools.cli", *map(str, arguments)],
            capture_output=True, text=True, cwd=cwd, env=os.environ | environment, timeout=300,
        )  # fmt: skip

    return run


@pytest.fixture
def one_worker():
    """Yield a Dask cluster with one worker, all in threads of this process."""
    import distributed  # slow to import, so only where it is needed

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1",
        dashboard_address="127.0.0.1:0", silence_logs="CRITICAL",
    ) as cluster:  # fmt: skip
        yield cluster


def wait_until(holds, what: str, seconds: float = 120) -> None:
    """Wait until `holds()` is true; fail with the message `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Family:
    """Start processes for a test, and find and kill them with all their descendants."""

    def __init__(self, folder: Path, **environment):
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.environment = os.environ | environment | {"MNIST_NB_TEST": self.mark}

    def start(self, *command, **options) -> subprocess.Popen:
        """Start Python with these arguments in a new session; stdout and stderr are pipes."""
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=self.folder, text=True, start_new_session=True, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def alive(self) -> list[psutil.Process]:
        """Return the running processes among those started, including kernels."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("MNIST_NB_TEST") == self.mark:
                    found.append(process)
        return found

    def end(self) -> None:
        for process in self.alive():
            with contextlib.suppress(psutil.Error):
                process.kill()
