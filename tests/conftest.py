"""What several tests need: the real data, the command, the committed notebooks."""

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.fixture
def command(tmp_path):
    """Run `mnist-nb` as a person would, in an empty folder; the finished process."""

    def run(*arguments, cwd=tmp_path, **environment):
        return subprocess.run(
            [sys.executable, "-m", "mnist_nb.cli", *map(str, arguments)],
            capture_output=True, text=True, cwd=cwd, env=os.environ | environment, timeout=300,
        )  # fmt: skip

    return run
