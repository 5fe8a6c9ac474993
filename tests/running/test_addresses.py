"""Runs and results at addresses that papermill can reach: a store in memory, and moto's S3."""

import json
import zipfile

import pytest
from click.testing import CliRunner
from papermill.iorw import papermill_io
from test_results import as_stored, notebook, record

from mnist_nb.errors import Problem
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs import run as one_run
from mnist_nb.tools.runs.places import is_address, read


class Shelf(dict):
    """A store in memory. `shown` says how it lists what is in it; no two stores do it alike."""

    shown = staticmethod(str)
    full = False

    def read(self, place):
        return self[place]

    def write(self, text, place):
        if self.full and place.endswith(".ipynb"):
            raise PermissionError(13, "the shelf is full")
        self[place] = text

    def listdir(self, folder):
        inside = [place for place in self if place.startswith(f"{folder.rstrip('/')}/")]
        names = {place[len(folder.rstrip("/")) + 1 :].partition("/")[0] for place in inside}
        # some stores list the folder itself, too
        return [self.shown(f"{folder.rstrip('/')}/{name}") for name in ["", *sorted(names)]]


@pytest.fixture
def shelf(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shelf = Shelf()
    handlers = [*papermill_io._handlers, ("shelf://", shelf)]
    monkeypatch.setattr(papermill_io, "_handlers", handlers)
    return shelf


@pytest.fixture
def walked(monkeypatch, tmp_path):
    """Run notebooks without a kernel: `execute` writes a run with a loss of lr, or fails for 0."""

    def execute(notebook_, output, values, quiet, **more):
        output.write_text(as_stored(notebook(record({"loss": values["lr"]}, **values))))
        if not values["lr"]:
            raise one_run.RunError("cell In [1] failed: ZeroDivisionError: division by zero")

    monkeypatch.setattr(one_run, "execute", execute)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = notebook({})
    source["cells"][0] |= {"source": ["lr = 1"], "metadata": {"tags": ["parameters"]}}
    source["cells"].append(source["cells"][0] | {"id": "b", "source": ["lr"], "metadata": {}})
    (tmp_path / "n.ipynb").write_text(as_stored(source))


def say(*arguments):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0 or isinstance(done.exception, (SystemExit, Problem)), done.exception
    return done


def test_a_run_goes_to_an_address_overwrites_nothing_there_and_results_reads_it(shelf, walked):
    for _ in range(2):
        done = say("run", "n.ipynb", "-p", "lr", "2", "-o", "shelf://a/b/")
        assert done.exit_code == 0, done.output
    assert done.stdout.endswith("The executed notebook: shelf://a/b/n.lr=2-2.ipynb\n")
    assert say("run", "n.ipynb", "-p", "lr", "0", "-o", "shelf://a/b").stderr.endswith(
        "kept as shelf://a/b/n.lr=0.failed.ipynb\n"
    )
    names = ["n.lr=0.failed.ipynb", "n.lr=2-2.ipynb", "n.lr=2.ipynb"]
    assert sorted(shelf) == [f"shelf://a/b/{name}" for name in (".sweep.json", *names)]
    shown = say("results", "shelf://a", "--by", "lr", "--csv")
    assert shown.stdout.splitlines()[1].startswith("2,2,2.0,0.0")
    assert shown.stderr == "left out: 1 (the run failed or was interrupted)\n"
    same = say("compare", "shelf://a/b/n.lr=2.ipynb", "shelf://a/b/n.lr=2-2.ipynb")
    assert same.stdout == "the numbers are identical in 1 epoch\n"


def test_what_an_address_does_not_take_is_refused_before_the_run_or_kept_after_it(shelf, walked):
    run = ["run", "n.ipynb", "-p", "lr", "2", "-o"]
    done = say(*run, "nowhere://a")
    assert done.exit_code == 2 and done.stderr.startswith("Error: the output folder nowhere://a ")
    shelf.full = True
    done = say(*run, "shelf://a")
    assert done.exit_code == 1 and done.stderr.count("\n") == 1
    assert "shelf://a cannot be written (the shelf is full), so the result stays" in done.stderr
    kept = done.stderr.partition("stays in ")[2].partition(";")[0]
    assert json.loads(read(kept))["cells"]


@pytest.mark.parametrize(
    "shown",
    [str, lambda place: place.partition("://")[2], lambda place: place.rpartition("/")[2]],
    ids=["addresses", "paths", "names"],
)
def test_a_folder_at_an_address_is_read_however_its_store_lists_it(shelf, shown):
    shelf.shown = shown
    for name in ("x=1/n", "x=2/n", "x=2/.n", ".part/n", "x=2/y/n"):
        shelf[f"shelf://a/{name}.ipynb"] = as_stored(notebook(record({"loss": 0.5}, x=name)))
    shelf["shelf://a/x=1/.sweep.json"] = "{}"
    shelf["shelf://a/x=3/n.ipynb"] = "no notebook"
    done = say("results", "shelf://a/", "shelf://a/x=1/n.ipynb", "--csv")
    runs = [line.partition(",")[0] for line in done.stdout.splitlines()[1:]]
    assert runs == [f"shelf://a/x={name}.ipynb" for name in ("1/n", "2/n", "2/y/n")]
    assert done.stderr == "shelf://a/x=3/n.ipynb: is not a complete notebook\n"


def test_records_at_an_address_are_exported_beside_those_of_a_folder(shelf, tmp_path):
    text = as_stored(notebook(record({"loss": 1}, lr=1)))
    papermill_io.write(text, "shelf://lab/runs/lr=1/n.ipynb")
    (tmp_path / "n.ipynb").write_text(text)
    assert say("export", "shelf://lab/runs", "n.ipynb", "-o", "crate.zip").exit_code == 0
    with zipfile.ZipFile("crate.zip") as archive:
        names = archive.namelist()
        assert "runs/shelf/lab/runs/lr=1/n.ipynb" in names and len(names) == 4
        assert {archive.read(name) for name in names[:2]} == {text.encode()}
    done = say("export", "shelf://lab/no.ipynb", "-o", "c.zip")
    assert done.exit_code == 2 and "no.ipynb: cannot be read (" in done.stderr


def test_an_address_that_cannot_be_read_is_a_sentence(shelf):
    done = say("results", "nowhere://a", "shelf://b/n.ipynb")
    lines = done.stderr.splitlines()
    assert done.exit_code == 1 and len(lines) == 3
    assert lines[0].startswith("nowhere://a: cannot be read (")
    assert lines[1].startswith("shelf://b/n.ipynb: cannot be read (")


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """The address of a bucket on moto's server, for boto3 and papermill."""
    moto, boto3 = pytest.importorskip("moto.server"), pytest.importorskip("boto3")
    monkeypatch.chdir(tmp_path)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    from papermill import s3

    monkeypatch.setattr(s3.S3, "s3_session", (None, None, None))
    boto3.client("s3").create_bucket(Bucket="mnist")
    yield "s3://mnist"
    server.stop()


def test_on_s3_runs_are_written_listed_and_read_to_the_last_byte(bucket, walked):
    assert is_address(bucket)
    for lr in (1, 2, 2, 0):
        say("run", "n.ipynb", "-p", "lr", lr, "-o", f"{bucket}/runs")
    long = notebook(record({"loss": 3.0}, lr=3), {"text/plain": "x" + "é" * 2**20})
    papermill_io.write(as_stored(long), f"{bucket}/runs/lr=3/n.ipynb")  # over two pieces
    papermill_io.write(as_stored(long), f"{bucket}/runs-of-others/n.ipynb")
    for number in range(1100):  # over two pages of a list
        papermill_io.write("", f"{bucket}/runs/a{number}.txt")
    done = say("results", f"{bucket}/runs", "--by", "lr", "--csv")
    rows = [line.split(",")[:3] for line in done.stdout.splitlines()[1:]]
    assert rows == [["1", "1", "1.0"], ["2", "2", "2.0"], ["3", "1", "3.0"]]
    assert done.stderr == "left out: 1 (the run failed or was interrupted)\n"
    done = say("results", "s3://no-such-bucket")
    assert done.exit_code == 1 and "s3://no-such-bucket: cannot be read (" in done.stderr
