"""The command `mnist-nb run`, and what it leaves behind."""

import json
import re
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from conftest import PROJECT, SLICE, WALKTHROUGH, small_notebook, without_figures, words
from torchvision import datasets

from mnist_nb.sources import LOCAL_FOLDERS
from mnist_nb.tools import kernels
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs.machine import _git_commit


@pytest.fixture
def say(tmp_path, monkeypatch):
    """The command as a call in an empty folder: quicker, and Jupyter and torch are loaded once."""
    monkeypatch.chdir(tmp_path)
    kernels.use()  # a launcher with torch, unless this process has one already
    return lambda *arguments: CliRunner().invoke(main, [str(word) for word in arguments])


@pytest.fixture(scope="module")
def slice_run(tmp_path_factory):
    """The walkthrough on a slice of MNIST: the finished process and the executed notebook."""
    folder = tmp_path_factory.mktemp("run")
    before = WALKTHROUGH.read_bytes()
    command = [sys.executable, "-m", "mnist_nb.tools.cli", "run", *words(SLICE | {"lr": 0.1})]
    done = subprocess.run(
        [*command, "-o", "out"], capture_output=True, text=True, cwd=folder, check=True
    )
    assert WALKTHROUGH.read_bytes() == before, "the committed notebook was touched"
    (path,) = (folder / "out").glob("*.ipynb")
    return done.stdout, path


def test_a_run_shows_a_line_per_epoch_then_the_losses_and_the_path(slice_run):
    out, path = slice_run
    assert out.index("Epoch 1, training loss") < out.index("Epoch 2, training loss")
    assert f"\nThe executed notebook: out/{path.name}\n" in out
    assert path.name == "00_walkthrough.train_size=640,val_size=160,epochs=2,lr=0.1.ipynb"


def test_the_executed_notebook_is_the_record_and_says_on_what_machine(slice_run, say):
    _, path = slice_run
    (record,) = json.loads(say("results", path, "--json").stdout)
    assert record["schema"] == 1 and record["notebook"] == "00_walkthrough"
    assert record["parameters"]["lr"] == 0.1 and record["parameters"]["epochs"] == 2
    assert [row["epoch"] for row in record["history"]] == [1, 2]
    machine = record["machine"]
    assert machine["versions"]["torch"] and machine["wall_time_s"] > 0
    assert machine["num_threads"] == 1 and len(machine["data_sha256"]) == 4


def test_the_recorded_accuracy_counts_right_answers_of_all_validation_images(slice_run, say):
    _, path = slice_run
    (record,) = json.loads(say("results", path, "--json").stdout)
    for row in record["history"]:
        right = row["val_accuracy"] * int(SLICE["val_size"])
        assert right == pytest.approx(round(right), abs=1e-9)


def test_a_repository_around_the_project_is_not_noted_as_its_own(tmp_path, monkeypatch):
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    for words_ in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "a"]):
        subprocess.run([*git, *words_], check=True)
    inside = tmp_path / "project"
    inside.mkdir()
    for folder, is_own in ((tmp_path, True), (inside, False)):
        monkeypatch.setattr("mnist_nb.tools.runs.machine.PROJECT", folder)
        assert bool(_git_commit()) == is_own


def test_results_are_a_table_and_csv_and_name_what_is_no_record(slice_run, say, tmp_path):
    _, path = slice_run
    (tmp_path / "cut.ipynb").write_text(path.read_text()[:999])
    done = say("results", path.parent, tmp_path, "--csv")
    assert done.exit_code == 0 and "cut.ipynb: is not a complete notebook" in done.stderr
    header, row = done.stdout.splitlines()
    named = dict(zip(header.split(","), row.rsplit(",", header.count(",")), strict=False))
    assert named["lr"] == "0.1"
    assert "train_loss" in say("results", path).stdout


def test_a_second_run_does_not_overwrite_the_first(say, tmp_path):
    notebook = small_notebook(tmp_path / "n.ipynb", "print(x)", parameters="x = 1")
    for _ in range(2):
        assert say("run", notebook).exit_code == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["n-2.ipynb", "n.ipynb"]


def test_a_failed_notebook_is_kept_and_one_line_says_which_cell_and_why(say, tmp_path):
    notebook = small_notebook(tmp_path / "n.ipynb", "1 / x", parameters="x: int = 1")
    done = say("run", notebook, "-p", "x", "0", "-o", "out")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert "cell In [3] (In [2] of your notebook) failed: ZeroDivisionError" in done.stderr
    assert (tmp_path / "out" / "n.x=0.failed.ipynb").is_file()


def test_lines_that_are_printed_one_by_one_are_one_output(say, tmp_path):
    cell = "for line in 'abc':\n    print(line, flush=True)"
    assert say("run", small_notebook(tmp_path / "n.ipynb", cell)).exit_code == 0
    (output,) = json.loads((tmp_path / "runs" / "n.ipynb").read_text())["cells"][0]["outputs"]
    assert "".join(output["text"]) == "a\nb\nc\n"


def test_a_kernel_that_dies_is_one_line_too(command, tmp_path):
    notebook = small_notebook(tmp_path / "n.ipynb", "import os; os._exit(1)")
    done = command("run", notebook)
    assert done.returncode != 0
    assert "Kernel died" in done.stderr


# Makes a thread of the kernel always lose a race that it hardly ever loses: asked to end, it sends
# through a socket only when another thread has closed it.
LATE = """\
def make_late(kernel):  # at its end it has forgotten all global names
    import threading
    from ipykernel.iostream import IOPubThread, OutStream
    pipe_of, flush = IOPubThread._event_pipe.fget, OutStream.flush
    flushing, closed = [], threading.Event()
    def late(self):
        pipe = pipe_of(self)
        while threading.current_thread() in flushing and not pipe.closed:
            closed.wait(0.01)
        return pipe
    def flush_at_the_end(self):
        thread = threading.current_thread()
        if thread.name == "Control" and kernel._shutdown_message:
            flushing.append(thread)
        flush(self)
    IOPubThread._event_pipe = property(late)
    OutStream.flush = flush_at_the_end
make_late(get_ipython().kernel)
print(x)"""


# the commands that start kernels, with what else they need
KERNEL_STARTERS = {"run": [], "refresh": [], "sweep": ["-g", "x", "2"]}
TRANSPORT = """\
from ipykernel.connect import get_connection_info
print(x, get_connection_info(unpack=True)['transport'])"""


@pytest.mark.parametrize("what", KERNEL_STARTERS)
def test_a_kernel_waits_for_no_port_and_what_it_says_as_it_ends_is_not_shown(
    command, tmp_path, what
):
    cells = LATE, TRANSPORT
    notebook = small_notebook(tmp_path / "n.ipynb", *cells, parameters="x: int = 1")
    done = command(what, notebook, *KERNEL_STARTERS[what])
    assert (done.returncode, done.stderr) == (0, "")
    written = sorted(tmp_path.rglob("n*.ipynb"))
    assert len(written) == {"run": 2, "refresh": 1, "sweep": 2}[what]
    last = json.loads(written[-1].read_text())["cells"][-1]
    assert "".join(last["outputs"][0]["text"]).endswith(" ipc\n")


def test_a_folder_too_long_for_a_socket_does_for_a_run(command, tmp_path):
    room = tmp_path / ("a" * 60) / ("b" * 60)
    room.mkdir(parents=True)
    notebook = small_notebook(tmp_path / "n.ipynb", "print(6 * 7)")
    done = command("run", notebook, "-o", "out", TMPDIR=str(room))
    assert done.returncode == 0 and done.stdout.startswith("42"), done.stderr
    done = command("refresh", notebook, TMPDIR=str(room))
    assert done.returncode == 0 and "42" in notebook.read_text(), done.stderr
    assert not list(room.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.ipynb"], "cannot find the notebook nowhere.ipynb"),
        (["-p", "epocs", "3"], "did you mean 'epochs'"),
        (["-p", "epochs", "1.5"], "epochs is '1.5'; it takes a whole number"),
        (["-p", "lr", "-1"], "lr is -1.0"),
        (["-o", "file/runs"], "the output folder file/runs cannot be written"),
    ],
)
def test_what_cannot_work_is_refused_before_a_kernel_starts(
    monkeypatch, tmp_path, arguments, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    done = CliRunner().invoke(main, ["run", *arguments])
    assert isinstance(done.exception, SystemExit), done.exception  # it would show a traceback
    assert done.exit_code == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"], "nothing was left behind"


def test_a_data_folder_that_cannot_be_written_is_one_sentence(say, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    done = say("run", *words(SLICE), "-p", "data_dir", tmp_path / "file" / "data")
    assert done.exit_code != 0
    assert "DataError: the data folder" in done.stderr and "cannot be written" in done.stderr


@pytest.mark.whole  # with its own files of parameters it is tried in test_sweep.py
def test_plain_papermill_works_from_any_folder(tmp_path):
    papermill = [sys.executable, "-m", "papermill", WALKTHROUGH, "out.ipynb"]
    subprocess.run(
        [*papermill, *words(SLICE | {"epochs": 1})], cwd=tmp_path, check=True, capture_output=True
    )
    assert (tmp_path / "out.ipynb").is_file()


CHANGED = [
    {"shuffle": "True", "hidden": "16", "dropout": "0", "lr": "1e-1", "eval_mode": "True"},
    {"batch_size": "640", "preload": "False", "num_threads": "2", "device": "auto"},
    {"lr": "1e6"},
]
ALL_AT_ONCE = {name: value for changed in CHANGED for name, value in changed.items()}


@pytest.mark.parametrize(
    "changed",
    [ALL_AT_ONCE, *(pytest.param(changed, marks=pytest.mark.whole) for changed in CHANGED)],
    ids=str,
)
def test_parameters_work_together(say, changed, tmp_path):
    done = say("run", without_figures(tmp_path), *words(SLICE | changed))
    assert done.exit_code == 0, done.stderr


def test_make_lists_every_target_with_a_line_each():
    done = subprocess.run(["make"], cwd=PROJECT, capture_output=True, text=True, check=True)
    makefiles = "\n".join((PROJECT / name).read_text() for name in ("Makefile", "authors.mk"))
    phony = re.findall(r"^\.PHONY: (.+)", makefiles, re.MULTILINE)
    assert len(phony) == 2
    for target in " ".join(phony).split():
        assert f"  make {target} " in done.stdout


def test_fashion_mnist_is_named_in_its_own_words_and_nothing_is_called_a_digit(say, tmp_path):
    if not LOCAL_FOLDERS["FashionMNIST"][0].is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    done = say("run", *words(SLICE | {"dataset": "FashionMNIST", "data_dir": tmp_path}))
    assert done.exit_code == 0, done.stderr
    (path,) = (tmp_path / "runs").glob("*.ipynb")
    cells = json.loads(path.read_text())["cells"]
    (shown,) = [c["outputs"][0]["data"]["text/plain"] for c in cells if c["id"] == "labels"]
    assert any(name in "".join(shown) for name in datasets.FashionMNIST.classes)
    for cell in cells:  # the text is about MNIST's digits, but no output
        assert not re.search(r"\bdigit", json.dumps(cell.get("outputs"))), cell["id"]


ACCELERATORS = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}


@pytest.mark.parametrize("device", ACCELERATORS)
def test_on_an_accelerator_the_start_and_the_split_are_the_cpus(device, command):
    if not ACCELERATORS[device]():
        pytest.skip(f"this machine has no {device} device")
    histories = {}
    for where in ("cpu", device):
        values = SLICE | {"lr": 0.1, "dropout": 0, "device": where}
        assert command("run", *words(values), "-o", where).returncode == 0
        (record,) = json.loads(command("results", where, "--json").stdout)
        histories[where] = record["history"]
    for here, there in zip(*histories.values(), strict=True):
        assert there["train_loss"] == pytest.approx(here["train_loss"], abs=0.001)
        assert there["val_loss"] == pytest.approx(here["val_loss"], abs=0.001)
