"""Notebooks in other languages than Python run with the kernel that they name."""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from conftest import small_notebook

from mnist_nb.errors import ParameterError
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs.given import read_values
from mnist_nb.tools.runs.languages import KernelError, assigned_names, foreign_kernel
from mnist_nb.tools.runs.reads import check_read
from mnist_nb.tools.runs.run import read_notebook, run
from mnist_nb.tools.runs.sweep import carry_out, prepare
from mnist_nb.tools.runs.work import How
from mnist_nb.tools.verify.records import SAME, verify_record

# A kernel for Bash: it runs all cells so far, and shows what the last one prints.
KERNEL = """\
import subprocess
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel
class Bash(Kernel):
    implementation = banner = "bash"
    implementation_version = "1"
    language_info = {"name": "bash", "mimetype": "text/x-sh", "file_extension": ".sh"}
    before = ":"
    def do_execute(self, code, silent, *more, **options):
        whole = "{ " + self.before + "\\n} >/dev/null\\n" + code
        done = subprocess.run(["bash", "-c", whole], capture_output=True, text=True)
        self.before += "\\n" + code
        said = {"name": "stdout", "text": done.stdout}
        self.send_response(self.iopub_socket, "stream", said)
        return {"status": "ok", "execution_count": self.execution_count, "payload": [],
                "user_expressions": {}}
IPKernelApp.launch_instance(kernel_class=Bash)
"""
BASH = {"name": "bash", "display_name": "Bash", "language": "bash"}
R = {"name": "ir", "display_name": "R", "language": "R"}


def notebook_of(path: Path, spec: dict | None, *cells: str, parameters: str, **metadata) -> Path:
    small_notebook(path, *cells, parameters=parameters)
    read = nbformat.read(path, as_version=4)
    read.metadata = {**({"kernelspec": spec} if spec else {}), **metadata}
    nbformat.write(read, path)
    return path


@pytest.fixture
def bash(tmp_path, monkeypatch) -> Path:
    """A notebook in Bash, and a kernel for it that is installed."""
    folder = tmp_path / "jupyter" / "kernels" / "bash"
    folder.mkdir(parents=True)
    (folder / "kernel.py").write_text(KERNEL)
    argv = [sys.executable, str(folder / "kernel.py"), "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, **BASH}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    source = 'lr=0.1\nexport name="a"\nunread=1'
    return notebook_of(tmp_path / "n.ipynb", BASH, 'echo "$lr of $name"', parameters=source)


def test_a_notebook_in_bash_runs_in_bash_with_the_values_that_are_given(bash, tmp_path):
    done = run(bash, {"lr": "1e-3", "name": "it's $b"}, tmp_path / "out", quiet=True)
    last = json.loads(done.read_text())["cells"][-1]
    assert "".join(last["outputs"][0]["text"]) == "0.001 of it's $b\n"


def test_the_parameters_of_a_notebook_in_bash_are_checked(bash):
    read = read_notebook(bash)
    assert read_values(read, {"lr": "[1, x]"}) == {"lr": [1, "x"]}
    with pytest.raises(ParameterError, match="did you mean 'name'"):
        read_values(read, {"nam": "1"})
    with pytest.raises(ParameterError, match="no cell of this notebook reads it"):
        check_read(read, ["lr", "unread"])


def test_a_notebook_whose_kernel_is_not_installed_is_refused_in_a_sentence(tmp_path):
    spec = {"name": "gone", "display_name": "x"}
    path = notebook_of(tmp_path / "n.ipynb", spec, "print(lr)", parameters="lr <- 0.1")
    with pytest.raises(KernelError, match="in an unknown language and names the kernel 'gone'"):
        foreign_kernel(read_notebook(path))
    path = notebook_of(tmp_path / "n.ipynb", R, "print(lr)", parameters="lr <- 0.1")
    done = CliRunner().invoke(main, ["run", str(path), "-o", str(tmp_path / "out")])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert "is in R and names the kernel 'ir', which is not installed here" in done.stderr
    with pytest.raises(KernelError):
        prepare(path, {"grid": {"lr": "1,2"}}, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_what_is_python_runs_with_this_python_whatever_its_kernel_is_called(tmp_path):
    other = {"name": "conda-env-x-py", "display_name": "x", "language": "python"}
    for number, (spec, more) in enumerate([
        (None, {}), (other, {}), ({"name": "conda-env-x-py", "display_name": "x"}, {}),
        (None, {"language_info": {"name": "ipython"}}),
    ]):  # fmt: skip
        path = notebook_of(tmp_path / f"{number}.ipynb", spec, "lr", parameters="lr = 1", **more)
        assert foreign_kernel(read_notebook(path)) is None
    path = notebook_of(
        tmp_path / "n.ipynb", None, "lr", parameters="lr = 1", language_info={"name": "julia"}
    )
    with pytest.raises(KernelError, match="is in julia and names no kernel"):
        foreign_kernel(read_notebook(path))


def test_the_kernel_that_is_chosen_runs_the_notebook_and_its_record_names_it(bash, tmp_path):
    path = notebook_of(tmp_path / "p.ipynb", None, 'echo "$lr"', parameters="lr=1")
    done = CliRunner().invoke(main, ["run", str(path), "--kernel", "nobash"])
    assert done.exit_code == 2 and "'nobash' is not installed here" in done.stderr
    record = run(path, {"lr": "2"}, tmp_path / "out", quiet=True, kernel="bash")
    read = json.loads(record.read_text())
    assert "".join(read["cells"][-1]["outputs"][0]["text"]) == "2\n"
    assert read["metadata"]["mnist_nb"]["kernel"] == "bash"
    assert verify_record(record, str(tmp_path)).state == SAME
    chosen = prepare(path, {}, str(tmp_path / "sweep"), kernel="bash").runs[0]
    usual = prepare(path, {}, str(tmp_path / "sweep")).runs[0]
    assert chosen.key != usual.key
    ((_, outcome),) = carry_out(
        prepare(path, {}, str(tmp_path / "s"), kernel="bash"), how=How(kernel="bash")
    )
    assert outcome.state == "finished"
    assert not prepare(path, {}, str(tmp_path / "s"), kernel="bash").left
    (place,) = prepare(path, {}, str(tmp_path / "s")).places.values()
    assert place.older == "its kernel was bash"


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("lr <- 0.1\nlearn.rate = 2\n# a <- 3\nf(x = 1)", ["lr", "learn.rate"]),
        ("lr = 0.1\nconst n::Int = 3\nlr == 2", ["lr", "n"]),
        ("lr=0.1\nexport a=b", ["lr", "a"]),
        ("val lr: Double = 0.1\nlet mut n = 2", ["lr", "n"]),
        ("$lr = 0.1", ["lr"]),
    ],
    ids=["R", "Julia", "Bash", "Scala and Rust", "PowerShell"],
)
def test_the_names_that_a_cell_assigns_are_found_in_other_languages(cell, names):
    assert assigned_names(cell) == names
