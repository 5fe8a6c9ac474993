"""What `results` counts and shows: whose runs, which numbers, in what order, as what picture."""

import base64
import copy
import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import papermill
import pytest
from click.testing import CliRunner
from conftest import PROJECT, WALKTHROUGH
from PIL import Image

import mnist_nb
from mnist_nb.errors import ParameterError
from mnist_nb.record import MIME
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs import plots
from mnist_nb.tools.runs.results import read_record
from mnist_nb.tools.runs.stored import _last_record, _whole

DONE = {"parameters": {}, "start_time": "2026-01-01", "end_time": "2026-01-01", "duration": 2.5,
        "exception": None}  # fmt: skip


def notebook(*outputs: dict, papermill: dict | None = None, **machine) -> dict:
    """Return an executed notebook with a cell for the data of each output."""
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {}, "source": []}
    cells = [cell | {"id": f"c{n}", "outputs": [
                 {"data": data, "metadata": {}, "output_type": "display_data"}]}
             for n, data in enumerate(outputs)]  # fmt: skip
    metadata = {"papermill": papermill, "mnist_nb": machine}
    metadata = {name: value for name, value in metadata.items() if value}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def record(*rows: dict, **parameters) -> dict:
    """Return the data of an output with a record: a row of numbers per epoch."""
    history = [{"epoch": epoch} | row for epoch, row in enumerate(rows, start=1)]
    return {MIME: {"schema": 1, "notebook": "n", "parameters": parameters, "history": history}}


def as_stored(content: dict) -> str:
    """Return a notebook as nbformat writes it."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def store(path: Path, *outputs: dict, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_stored(notebook(*outputs, **more)))
    return path


def say(*arguments):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0 or isinstance(done.exception, SystemExit), done.exception
    return done


def table(*arguments) -> list[dict]:
    return list(csv.DictReader(io.StringIO(say("results", *arguments, "--csv").stdout)))


@pytest.fixture
def runs(tmp_path):
    """Nine runs of three epochs: three values of lr, three seeds."""
    for lr in (0.1, 0.01, 1):
        for seed in range(3):
            rows = [
                {"loss": lr + seed / 10 + 1 / epoch, "right": epoch / 4} for epoch in (1, 2, 3)
            ]
            path = tmp_path / "runs" / f"lr={lr},seed={seed}" / "n.ipynb"
            store(path, record(*rows, lr=lr, seed=seed, width=64), wall_time_s=1.5)
    return tmp_path / "runs"


# --- whose runs count


def test_a_file_counts_once_however_often_and_under_whatever_name_it_is_given(tmp_path):
    path = store(tmp_path / "runs" / "n.ipynb", record({"loss": 0.5}, lr=1))
    (tmp_path / "also").symlink_to(path)
    named = [path, path, path.parent, tmp_path / "runs" / ".." / "runs", tmp_path / "also"]
    assert [row["runs"] for row in table(*named, "--by", "lr")] == ["1"]


def test_runs_that_failed_or_were_interrupted_are_counted_and_not_averaged(tmp_path):
    store(tmp_path / "n.ipynb", record({"loss": 0.5}, lr=1))
    bad = record({"loss": 100.0}, lr=1)
    for name in ("n.failed", "n.failed-2", "n.interrupted"):
        store(tmp_path / f"{name}.ipynb", bad)
    store(tmp_path / "renamed.ipynb", bad, papermill=DONE | {"exception": True})
    store(tmp_path / "killed.ipynb", bad, papermill=DONE | {"end_time": None})
    done = say("results", tmp_path, "--by", "lr", "--csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["runs"], row["loss_mean"]) == ("1", "0.5")
    assert sorted(done.stderr.splitlines()) == [
        "left out: 1 (the run did not end)",
        "left out: 1 (the run failed)",
        "left out: 3 (the run failed or was interrupted)",
    ]


@pytest.mark.parametrize("form", [as_stored, json.dumps], ids=["as stored", "on one line"])
@pytest.mark.parametrize("source", ["committed", "executed"])
def test_what_papermill_has_only_prepared_is_no_run_and_what_was_run_after_that_is_one(
    tmp_path, source, form
):
    executed = json.loads(WALKTHROUGH.read_text())
    if source == "executed":  # its metadata speak of the run before
        executed["metadata"]["papermill"] = DONE
    (tmp_path / "source.ipynb").write_text(json.dumps(executed))
    for given in ({"lr": 0.5}, {} if source == "committed" else {"lr": 0.25}):
        papermill.execute_notebook(
            tmp_path / "source.ipynb", tmp_path / "n.ipynb", given, prepare_only=True,
            kernel_name="python3", language="python", progress_bar=False,
        )  # fmt: skip
        content = json.loads((tmp_path / "n.ipynb").read_text())
        (tmp_path / "n.ipynb").write_text(form(content))
        done = say("results", tmp_path / "n.ipynb")
        assert done.exit_code == 1 and "prepared it, but it was not run" in done.stderr
        with pytest.raises(ValueError, match="it was not run"):
            read_record(tmp_path / "n.ipynb")
    for cell in content["cells"]:  # as JupyterLab runs it
        if "injected-parameters" in cell["metadata"].get("tags", ()):
            cell["execution_count"] = 3
    if source == "executed":
        (tmp_path / "n.ipynb").write_text(form(content))
        assert len(table(tmp_path / "n.ipynb")) == 1


@pytest.mark.parametrize("count", [None, 7, "no cell"])
def test_a_record_is_found_without_parsing_all_as_it_is_found_by_parsing_all(count):
    content = json.loads(WALKTHROUGH.read_text())
    content["metadata"] |= {"papermill": DONE, "mnist_nb": {"wall_time_s": 2.0, "a": {"b": "{"}}}
    tagged = next(cell for cell in content["cells"] if cell["metadata"].get("tags"))
    tagged["metadata"]["tags"] += ["injected-parameters"] * (count != "no cell")
    tagged["execution_count"] = count if count != "no cell" else 1
    text = as_stored(content).encode()
    assert _last_record(text)._replace(notebook=content) == _whole(text)
    # an older record before it, and texts that look like one, do not count
    decoy = copy.deepcopy(next(c for c in content["cells"] if c["cell_type"] == "code"))
    decoy |= {"execution_count": 99, "metadata": {}}
    text_like = text.decode().split("\n")
    decoy["outputs"] = [{"data": {MIME: {"schema": 0}, "text/plain": text_like}, "metadata": {},
                         "output_type": "display_data"}]  # fmt: skip
    content["cells"].insert(0, decoy)
    text = as_stored(content).encode()
    assert _last_record(text)._replace(notebook=content) == _whole(text)


# --- other notebooks, other numbers


def test_a_record_may_have_any_numbers_and_not_the_same_in_all_runs_and_epochs(tmp_path):
    store(tmp_path / "a.ipynb", record({"rmse": 3}, {"rmse": 2.5, "r2": 0.5}, depth=3))
    store(tmp_path / "b.ipynb", record({"rmse": 4.0}, depth=4))
    a, b = table(tmp_path)
    assert (a["rmse"], a["r2"], b["rmse"], b["r2"]) == ("2.5", "0.5", "4.0", "")
    assert "rmse" in say("results", tmp_path).stdout and "loss" not in a
    assert "rmse_mean" in table(tmp_path, "--by", "depth")[0]
    assert "rmse 3 | 4.0" in say("compare", tmp_path / "a.ipynb", tmp_path / "b.ipynb").stdout


def test_a_parameter_that_some_runs_lack_keeps_its_value_in_the_others(tmp_path):
    store(tmp_path / "a.ipynb", record({"loss": 1}, width=64, limit=None, big=2**60 + 1))
    store(tmp_path / "b.ipynb", record({"loss": 2}, limit=3))
    a, b = table(tmp_path)
    assert [a[n] for n in ("width", "limit", "big")] == ["64", "", str(2**60 + 1)]
    assert [b[n] for n in ("width", "limit", "big")] == ["", "3", ""]
    shown = say("results", tmp_path).stdout
    assert " 64 " in shown and "64.0" not in shown and "nan" not in shown
    assert [row["width"] for row in table(tmp_path, "--by", "width")] == ["64", ""]


def test_a_number_that_has_the_name_of_a_parameter_does_not_take_its_place(tmp_path):
    store(tmp_path / "a.ipynb", record({"lr": 0.5, "run": 7.0}, lr=1.0, width=64))
    (row,) = table(tmp_path)
    assert (row["lr"], row["lr_measured"], row["run_measured"]) == ("1.0", "0.5", "7.0")
    assert row["run"].endswith("a.ipynb")


def test_a_group_in_which_a_run_diverged_has_no_mean_that_looks_good(tmp_path):
    for seed, loss in enumerate(["NaN", 0.5]):
        store(tmp_path / f"{seed}.ipynb", record({"loss": loss}, lr=1, seed=seed))
        store(tmp_path / f"1{seed}.ipynb", record({"loss": 0.25 + seed}, lr=0.1, seed=seed))
    store(tmp_path / "2.ipynb", record({"loss": "Infinity"}, lr=2, seed=0))
    rows = {row["lr"]: row["loss_mean"] for row in table(tmp_path, "--by", "lr")}
    assert rows == {"0.1": "0.75", "1.0": "", "2.0": "inf"} or rows["1"] == ""
    groups = json.loads(say("results", tmp_path, "--by", "lr", "--json").stdout)
    assert [group["loss_mean"] for group in groups] == [0.75, None, "Infinity"]


def test_a_run_of_papermill_has_its_parameters_its_scraps_and_its_time(tmp_path):
    scraps = [{"application/scrapbook.scrap.json+json":
               {"name": name, "data": data, "encoder": "json", "version": 1}}
              for name, data in (("rmse", 1.5), ("text", "no number"), ("steps", 7))]  # fmt: skip
    noted = DONE | {"parameters": {"depth": 3}, "input_path": "in/trees.ipynb"}
    store(tmp_path / "a.ipynb", *scraps, papermill=noted)
    old = {"application/papermill.record+json": {"rmse": 2.5}}
    store(tmp_path / "b.ipynb", old, papermill=noted | {"parameters": {"depth": 4}})
    store(tmp_path / "c.ipynb", papermill=noted | {"parameters": {"depth": 5}})
    found = [(r["depth"], r["rmse"], r["steps"], r["wall_time_s"]) for r in table(tmp_path)]
    assert found == [("3", "1.5", "7.0", "2.5"), ("4", "2.5", "", "2.5"), ("5", "", "", "2.5")]
    (one,) = json.loads(say("results", tmp_path / "a.ipynb", "--json").stdout)
    assert one["notebook"] == "trees" and "text" not in one["history"][0]
    for strange in ({"papermill": 3}, {"papermill": {"parameters": 3}}, {"mnist_nb": [1]}):
        bent = notebook(*scraps, papermill=noted)
        bent["metadata"] |= strange
        (tmp_path / "a.ipynb").write_text(json.dumps(bent))
        assert say("results", tmp_path).stderr.count("\n") <= 1


def test_a_record_of_ours_that_papermill_alone_has_run_has_its_time(tmp_path):
    store(tmp_path / "a.ipynb", record({"loss": 1}), papermill=DONE)
    store(tmp_path / "b.ipynb", record({"loss": 1}), papermill=DONE, wall_time_s=1.5)
    assert [row["wall_time_s"] for row in table(tmp_path)] == ["2.5", "1.5"]


def test_the_line_that_the_guide_gives_for_other_notebooks_leaves_a_record(tmp_path, monkeypatch):
    guide = (PROJECT / "docs" / "running.md").read_text()
    code = "\n".join(re.findall(r"^    (from mnist_nb.record .+|show_record\(.+)$", guide, re.M))
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda output, **_: shown.append(output))
    exec(code, {"depth": 3, "rmse": 1.5})
    store(tmp_path / "n.ipynb", *shown)
    (row,) = table(tmp_path)
    assert (row["depth"], row["rmse"]) == ("3", "1.5")


# --- in what order, and how much of it


def test_results_are_sorted_up_or_down_by_any_columns_and_groups_by_their_means(runs):
    assert [r["loss"] for r in table(runs, "--sort", "loss")] == sorted(
        (r["loss"] for r in table(runs)), key=float
    )
    rows = table(runs, "--sort", "-lr", "--sort", "seed")
    assert [(float(r["lr"]), r["seed"]) for r in rows[:4]] == [
        (1.0, "0"), (1.0, "1"), (1.0, "2"), (0.1, "0")]  # fmt: skip
    groups = table(runs, "--by", "lr", "--sort", "-loss")
    assert [float(r["lr"]) for r in groups] == [1, 0.1, 0.01]
    done = say("results", runs, "--sort", "width2")
    assert done.exit_code == 2 and "'width2' is not in these records; they have" in done.stderr


def test_values_of_many_types_can_be_sorted(tmp_path):
    for name, value in {"a": "b", "b": 10**400, "c": 2, "d": None, "e": [1], "f": 0.5}.items():
        store(tmp_path / f"{name}.ipynb", record({"loss": 0.5}, x=value))
    names = [Path(row["run"]).stem for row in table(tmp_path, "--sort", "x")]
    assert names[:3] == ["f", "c", "b"] and sorted(names) == list("abcdef")


def test_with_epochs_there_is_a_row_per_epoch_and_groups_have_one_per_epoch(runs):
    rows = table(runs, "--epochs")
    assert len(rows) == 27
    assert [r["epoch"] for r in rows[:4]] == ["1", "2", "3", "1"]
    assert float(rows[1]["loss"]) == 0.01 + 0.5 and "wall_time_s" not in rows[0]
    groups = table(runs, "--epochs", "--by", "lr")
    assert [(float(r["lr"]), r["epoch"], r["runs"]) for r in groups[:2]] == [
        (0.01, "1", "3"), (0.01, "2", "3")]  # fmt: skip
    assert float(groups[1]["loss_mean"]) == pytest.approx(0.01 + 0.1 + 0.5)


def test_from_python_results_are_a_data_frame_in_one_line(runs, caplog):
    store(runs / "n.failed.ipynb", record({"loss": 100.0}))
    frame = mnist_nb.results(runs)
    assert len(frame) == 9 and frame.groupby("lr")["loss"].mean()[1.0] == pytest.approx(
        1.1 + 1 / 3
    )
    assert caplog.messages == ["left out: 1 (the run failed or was interrupted)"]
    assert len(mnist_nb.results(str(runs), epochs=True)) == 27
    with pytest.raises(ParameterError, match="no record of a run was found in nowhere"):
        mnist_nb.results("nowhere")


# --- pictures


def drawn(*arguments) -> plots.Drawing:
    """The drawing of `results`, looked at before it is written."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        original = plots.as_bytes
        patch.setattr(plots, "as_bytes", lambda d, kind: found.append(d) or original(d, kind))
        assert say("results", *arguments).exit_code == 0
    return found[0]


def test_a_plot_has_a_curve_per_value_with_a_band_over_seeds_and_says_so_in_its_alt_text(
    runs, tmp_path
):
    drawing = drawn(runs, "--plot", tmp_path / "p.png")
    loss, right = drawing.figure.axes
    assert (loss.get_title(), right.get_title()) == ("loss", "right")
    assert [line.get_label() for line in loss.lines] == ["0.01", "0.1", "1.0"]
    assert list(loss.lines[2].get_ydata()) == pytest.approx([1.1 + 1 / n for n in (1, 2, 3)])
    band = loss.collections[2].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((1.0 + 1 / 3, 1.2 + 1))
    assert drawing.alt == (
        "loss, right by epoch, 1 to 3, a line for each lr (0.01, 0.1, 1.0); mean over 3 runs "
        "each, and one standard deviation up and down. loss ends between 0.4433 (lr=0.01) and "
        "1.433 (lr=1.0). right ends at 0.75."
    )
    assert Image.open(tmp_path / "p.png").text["Description"] == drawing.alt
    say("results", runs, "--plot", tmp_path / "p.svg")
    root = ET.parse(tmp_path / "p.svg").getroot()
    assert root.attrib["aria-label"] == drawing.alt and root.attrib["role"] == "img"
    description = root.find(".//{http://purl.org/dc/elements/1.1/}description")
    assert description.text == drawing.alt
    before = (tmp_path / "p.svg").read_bytes()
    say("results", runs, "--plot", tmp_path / "p.svg")
    assert (tmp_path / "p.svg").read_bytes() == before


def test_two_parameters_are_a_map_and_with_more_the_plot_asks_which(runs, tmp_path):
    picture = tmp_path / "p.svg"
    loss = drawn(runs, "--by", "lr", "--by", "seed", "--plot", picture).figure.axes[0]
    (image,) = loss.images
    assert image.get_array()[1][2] == pytest.approx(0.1 + 0.2 + 1 / 3)  # lr is 0.1, seed is 2
    assert [label.get_text() for label in loss.get_yticklabels()] == ["0.01", "0.1", "1.0"]
    for depth in (3, 4):
        store(runs / f"{depth}.ipynb", record({"loss": 1.0}, lr=2, width=32, depth=depth))
    done = say("results", runs, "--plot", tmp_path / "none.png")
    assert done.exit_code == 2 and not (tmp_path / "none.png").exists()
    assert "3 parameters vary (depth, lr, width), and a plot shows two at most" in done.stderr
    alt = drawn(runs, "--by", "width", "--by", "depth", "--plot", picture).alt
    assert alt.startswith("Maps of loss, right after the last epoch, by width (32")


def test_runs_of_one_epoch_and_more_values_than_curves_are_points_over_the_values(tmp_path):
    for n in range(9):
        store(tmp_path / f"{n}.ipynb", record({"rmse": n / 2}, {"rmse": n / 4}, depth=n))
    (panel,) = drawn(tmp_path, "--plot", tmp_path / "p.png").figure.axes
    assert panel.get_xlabel() == "depth"
    assert list(panel.lines[0].get_ydata()) == [n / 4 for n in range(9)]


ODD = {
    "no numbers": [{}],
    "nan": [{"loss": "NaN"}, {"loss": None}],
    "infinite": [{"loss": "Infinity"}, {"loss": "-Infinity"}],
    "huge": [{"loss": 1e308}, {"loss": -1e308}],
    "eight numbers": [{f"n{n}": 0.5 for n in range(8)}],
    "odd names": [{"$x_{$": 0.5, "_n": 1, "<b>&amp;": 0.25, "": 1}],
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("by", [(), ("x",), ("x", "y")], ids=str)
def test_odd_numbers_and_names_are_drawn_or_refused_in_a_sentence(tmp_path, odd, by):
    for n, value in enumerate(["<i>$^", None, [1], {}, 10**400, 2]):
        parameters = {"x": value, "y": n % 2} if by else {}
        store(tmp_path / f"{n}.ipynb", record(*ODD[odd], **parameters))
    words = [word for name in by for word in ("--by", name)]
    done = say("results", tmp_path, "--plot", tmp_path / "p.svg", *words)
    assert done.exit_code == 0 or done.stderr.count("\n") == 1
    assert (done.exit_code == 0) == (odd not in ("no numbers", "nan"))


def test_names_that_columns_have_and_names_given_twice_make_groups_or_a_sentence(tmp_path):
    names = {name: "a" for name in ("run", "runs", "epoch", "wall_time_s", "loss_mean", "lr")}
    store(tmp_path / "n.ipynb", record({"loss": 0.5}, {"loss": 0.25}, **names))
    for name in names:
        for more in ([], ["--epochs"], ["--by", name], ["--plot", tmp_path / "p.png"]):
            done = say("results", tmp_path, "--by", name, *more)
            said = "cannot make groups" if name in ("runs", "loss_mean") else "is not in these"
            assert done.exit_code == 0 or (said in done.stderr and done.stderr.count("\n") == 1)
            assert done.exit_code == 0 or name in ("runs", "loss_mean", "epoch")


def test_the_page_has_the_table_and_the_plot_in_it_and_nothing_from_elsewhere(runs):
    store(runs / "n.ipynb", record({"loss": 0.5, "right": 0.5}, lr="<script>alert(1)"))
    page = say("results", runs, "--html").stdout
    image = re.search(r'<img alt="([^"]+)" src="data:([^;]+);base64,([^"]+)">', page)
    alt, kind, data = image.groups()
    assert kind == "image/svg+xml" and alt.startswith("loss, right by epoch")
    assert ET.fromstring(base64.b64decode(data)).tag.endswith("svg")
    assert page.count("<tr") == 11 and '<html lang="en">' in page
    assert not re.search(r"<script|https?://|src=\"(?!data:)", page)


def test_where_a_plot_cannot_be_chosen_the_page_has_the_table_and_it_is_said(runs):
    for depth in (3, 4):
        store(runs / f"{depth}.ipynb", record({"loss": 1.0}, lr=2, width=32, depth=depth))
    done = say("results", runs, "--html")
    assert done.exit_code == 0 and "<table" in done.stdout and "<img" not in done.stdout
    assert "the page has no plot: 3 parameters vary" in done.stderr


def test_a_plot_that_cannot_be_written_is_one_sentence(runs, tmp_path):
    for name, why in {
        "p.jpg": "a plot is a .png or an .svg, not p.jpg",
        "nowhere/p.png": "cannot be written (No such file or directory)",
    }.items():
        done = say("results", runs, "--plot", tmp_path / name)
        assert done.exit_code == 1 and why in done.stderr and done.stderr.count("\n") == 1


def test_every_colour_of_a_line_stands_out_from_white():
    for colour, *_ in plots.LOOKS:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        brightness = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
        assert 1.05 / (brightness + 0.05) >= 3, colour  # WCAG's contrast of graphics
    assert len({marker for _, marker, _ in plots.LOOKS}) == len(plots.LOOKS)


# --- what a group mixes


def run(folder: Path, epochs: int, seed: int = 0, **parameters) -> Path:
    """Store a run: its loss starts at its width and halves with each epoch."""
    rows = [{"loss": parameters.get("width", 1) / 2**n} for n in range(epochs)]
    name = ",".join(f"{n}={v}" for n, v in {**parameters, "epochs": epochs, "seed": seed}.items())
    given = parameters | {"epochs": epochs, "seed": seed, "dropout": 0.1}
    return store(folder / name / "n.ipynb", record(*rows, **given), wall_time_s=1.5)


@pytest.fixture
def mixed(tmp_path):
    """Runs of two widths, of one to three epochs, with two seeds each."""
    for width in (8, 32, 128):
        for epochs in (1, 3):
            for seed in (0, 1):
                run(tmp_path / "m", epochs, seed, width=width)
    return tmp_path / "m"


def test_what_varies_within_groups_is_said_with_its_values_and_seeds_are_not(mixed):
    done = say("results", mixed, "--by", "width")
    (line,) = done.stderr.splitlines()
    assert "epochs (1, 3)" in line and "--by epochs" in line
    assert "seed" not in line and "dropout" not in line and "width" not in line
    for form in ("--csv", "--json", "--html"):
        assert line in say("results", mixed, "--by", "width", form).stderr.splitlines()
    assert line in say("results", mixed, "--by", "width", "--html").stdout
    assert say("results", mixed, "--by", "width", "--by", "epochs").stderr == ""
    assert say("results", mixed, "--by", "epochs").stderr.count("width (8, 32, 128)") == 1


def test_a_parameter_that_only_some_runs_of_a_group_have_varies_too(mixed):
    store(mixed / "own.ipynb", record({"loss": 1}, width=8, epochs=1, seed=0))
    said = say("results", mixed, "--by", "width", "--by", "epochs").stderr
    assert "dropout (0.1, not given)" in said


def test_what_is_the_same_in_all_runs_is_said_of_groups_too(mixed):
    last = "\n\nthe same in all runs: dropout=0.1\n"
    assert say("results", mixed).stdout.endswith(last)
    assert say("results", mixed, "--by", "width").stdout.endswith(last)
    assert "dropout=" not in say("results", mixed, "--by", "dropout").stdout


def test_a_curve_and_the_rows_of_a_group_stop_where_its_first_run_ends(mixed, tmp_path):
    drawing = drawn(mixed, "--by", "width", "--plot", tmp_path / "p.svg")
    (loss,) = drawing.figure.axes
    assert [list(line.get_xdata()) for line in loss.lines] == [[1], [1], [1]]
    assert "mean over 4 runs each" in drawing.alt and "stops where its first run" in drawing.alt
    assert "ends between 8 (width=8) and 128 (width=128)" in drawing.alt
    drawing = drawn(mixed, "--by", "epochs", "--plot", tmp_path / "p.svg")
    (loss,) = drawing.figure.axes
    assert [list(line.get_xdata()) for line in loss.lines] == [[1], [1, 2, 3]]
    assert "mean over 6 runs each" in drawing.alt and "first run" not in drawing.alt
    assert "(epochs=3) and 56 (epochs=1)" in drawing.alt
    assert "first run" in drawing.figure.get_suptitle() or "first run" not in drawing.alt
    done = say("results", mixed, "--by", "width", "--epochs", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(r["width"], r["epoch"], r["runs"]) for r in rows] == [
        ("8", "1", "4"), ("32", "1", "4"), ("128", "1", "4")]  # fmt: skip
    assert "first run ends" in done.stderr
    assert len(table(mixed, "--by", "epochs", "--epochs")) == 4


def test_runs_that_stopped_early_share_a_curve_as_far_as_all_of_them_go(tmp_path):
    for seed, epochs in enumerate((2, 4, 3)):
        rows = [{"loss": 1 / n} for n in range(1, epochs + 1)]
        store(tmp_path / f"{seed}.ipynb", record(*rows, seed=seed, sizes=[64]))
    for by in ([], ["--by", "sizes"]):
        drawing = drawn(tmp_path, *by, "--plot", tmp_path / "p.svg")
        assert list(drawing.figure.axes[0].lines[0].get_xdata()) == [1, 2]
        assert "loss ends at 0.5." in drawing.alt
    rows = table(tmp_path, "--by", "sizes", "--epochs")
    assert [(row["epoch"], row["runs"]) for row in rows] == [("1", "3"), ("2", "3")]


# --- which runs, and in what order


def test_where_keeps_the_runs_that_have_one_of_the_values(mixed):
    own = {"width": "8", "epochs": 1, "seed": 7, "deep": True, "sizes": [64, 32], "lr": 0.1}
    store(mixed / "own.ipynb", record({"loss": 1}, **own))
    for words, number in {
        "epochs=1": 7, "width=8": 5, "width=8,32": 9, "seed=0:2": 12, "deep=true": 1,
        "sizes=[64, 32]": 1, "lr=1e-1": 1, "epochs=1.0": 7,
    }.items():  # fmt: skip
        assert len(table(mixed, "--where", words)) == number, words
    assert len(table(mixed, "--where", "epochs=1", "--where", "seed=0")) == 3
    assert say("results", mixed, "--where", "epochs=1", "--where", "lr=0.1").exit_code == 0
    for words, said in {
        "epochs=2": "no run has epochs=2; they have 1, 3",
        "epochs": "NAME=VALUE",
        "loss=1": "'loss' is a result",
        "epoch=1": "'epoch' is not",
        "deep=1": "no run has deep=1",
    }.items():
        done = say("results", mixed, "--where", words)
        assert done.exit_code == 2 and said in done.stderr and done.stdout == "", words
        assert done.stderr.count("\n") == 1


def test_runs_stand_in_the_order_of_their_numbers_seeds_last(mixed):
    rows = [(row["width"], row["epochs"], row["seed"]) for row in table(mixed)]
    assert rows == sorted(rows, key=lambda row: (int(row[1]), int(row[0]), int(row[2])))
    assert mnist_nb.results(mixed)["width"].tolist() == [int(row[0]) for row in rows]


def test_from_python_lists_of_paths_are_taken_apart(mixed, tmp_path):
    paths = [mixed, str(run(tmp_path, 1, width=2))]
    assert len(mnist_nb.results(paths)) == len(mnist_nb.results(*paths)) == 13
    assert len(mnist_nb.results(mixed.glob("*epochs=1,*"), paths[1])) == 7
    with pytest.raises(ParameterError) as refused:
        mnist_nb.results([f"nowhere{n}" for n in range(30)])
    assert "nowhere1," in str(refused.value) and len(str(refused.value)) < 200
    with pytest.raises(ParameterError, match="no path"):
        mnist_nb.results([])


# --- what is refused


def test_two_formats_at_once_are_refused(runs):
    done = say("results", runs, "--csv", "--html")
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "--csv and --html" in done.stderr
    assert say("results", runs, "--csv", "--csv").exit_code == 0


@pytest.mark.parametrize("name", ["loss", "wall_time_s", "run", "loss_mean", "epoch"])
def test_groups_by_what_is_no_parameter_are_refused(runs, name):
    done = say("results", runs, "--by", name)
    assert done.exit_code == 2 and f"'{name}' is " in done.stderr
    assert "lr, seed, width" in done.stderr
    assert ("a result" in done.stderr) == (name in ("loss", "wall_time_s"))


def test_three_parameters_named_for_a_plot_are_too_many(mixed, tmp_path):
    three = [word for name in ("width", "epochs", "seed") for word in ("--by", name)]
    done = say("results", mixed, *three, "--plot", tmp_path / "p.svg")
    assert done.exit_code == 2 and "at most two" in done.stderr and "choose" not in done.stderr
    done = say("results", mixed, *three, "--html")
    assert done.exit_code == 0 and "at most two" in done.stderr


# --- how it is said


def test_one_run_and_one_epoch_are_not_called_runs_and_epochs(tmp_path):
    a, b = run(tmp_path, 1), run(tmp_path, 2)
    assert "Results of 1 run<" in say("results", a, "--html").stdout
    assert say("compare", a, a).stdout == "the numbers are identical in 1 epoch\n"
    said = say("compare", a, b).stdout
    assert said.endswith("identical in 1 epoch; one has 1 epoch, the other 2\n")


def test_the_table_of_groups_that_people_read_has_no_deviation_of_the_time(mixed):
    assert "wall_time_s_std" not in say("results", mixed, "--by", "width").stdout
    assert "wall_time_s_std" in table(mixed, "--by", "width")[0]
