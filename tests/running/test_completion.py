"""In a shell, the names of a notebook's own parameters are completed."""

import pytest
from click.shell_completion import ShellComplete
from conftest import small_notebook

from mnist_nb.tools.cli import main


@pytest.mark.parametrize(
    ("words", "begun", "found"),
    [
        (["sweep", "n.ipynb", "-p"], "", ["width", "wd", "kind"]),
        (["sweep", "n.ipynb", "-g"], "w", ["width", "wd"]),
        (["run", "n.ipynb", "-p", "wd", "0.1", "-p"], "wi", ["width"]),
        (["run", "n.ipynb", "-p", "width"], "", ["64"]),
        (["run", "n.ipynb", "-p", "none"], "", ["width", "wd", "kind"]),
        (["run", "-p"], "hid", ["hidden"]),
        (["run", "nowhere.ipynb", "-p"], "", []),
        (["run", "n.ipynb", "-p", "wd", "1"], "--t", ["--timeout"]),
    ],
    ids=str,
)
def test_names_of_parameters_and_their_defaults_are_completed(
    tmp_path, monkeypatch, words, begun, found
):
    monkeypatch.chdir(tmp_path)
    declared = "width: int = 64\nwd = 0.0\nkind: str = 'plain'"
    small_notebook(tmp_path / "n.ipynb", "print(width, wd, kind)", parameters=declared)
    items = ShellComplete(main, {}, "mnist-nb", "_").get_completions(words, begun)
    assert [item.value for item in items] == found
