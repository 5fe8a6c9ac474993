"""Records prove themselves: they say all that made them, and `verify` runs them again."""

import copy
import itertools
import json
import random
import re
import shutil

import nbformat
import pytest
from click.testing import CliRunner
from conftest import small_notebook

from mnist_nb.record import MIME
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs.digest import KEY, digest
from mnist_nb.tools.runs.run import run
from mnist_nb.tools.settings import isolated
from mnist_nb.tools.verify import records
from mnist_nb.tools.verify.outputs import DIFFERS, IGNORED, SAME, WITHIN, compare_cell

# A small chaotic experiment without torch: printed numbers, a result, a picture and a record
COMPUTE = """\
history, y = [], x
for epoch in range(1, epochs + 1):
    y = 3.9 * y * (1 - y)
    history.append({"epoch": epoch, "train_loss": y, "val_loss": y / 2, "val_accuracy": 1 - y})
    print(f"Epoch {epoch}: {y:.3f}")"""
PICTURE = """\
import base64, io
from IPython.display import display
from PIL import Image
file = io.BytesIO()
Image.new("RGB", (4, 4), (int(255 * y), int(255 * x), 0)).save(file, "png")
shown = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": f"colour {y:.4f}"}
display(shown, raw=True, metadata={"image/png": {"alt": f"A square as red as {y:.3f}."}})"""
SHOW = f"""\
parameters = {{"x": x, "epochs": epochs, "name": name}}
record = {{"schema": 1, "notebook": "n", "parameters": parameters, "history": history}}
display({{"{MIME}": record, "text/plain": "Recorded."}}, raw=True)"""
APPROXIMATE = {"tags": ["nbval-approx"], "nbval": {"atol": 0.001}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two records of the same notebook with different parameters, `a.ipynb` and `b.ipynb`."""
    place = tmp_path_factory.mktemp("records")
    parameters = "x: float = 0.5\nepochs: int = 4\nname: str = 'n'"
    notebook = small_notebook(
        place / "n.ipynb", COMPUTE, "round(y, 6), {'k': 'v'}", PICTURE, SHOW, parameters=parameters
    )
    written = nbformat.read(notebook, 4)
    written.cells[-1].metadata.update(APPROXIMATE)
    written.cells.append(nbformat.v4.new_markdown_cell("The first value is larger."))
    nbformat.write(written, notebook)
    for name, x in (("a", "0.3"), ("b", "0.6")):
        run(notebook, {"x": x}, place, quiet=True).rename(place / f"{name}.ipynb")
    return place


@pytest.fixture(scope="module")
def again():
    """Run a notebook again, unless one with the same sources has been run before."""
    done, really = {}, records.run_again  # which `say` replaces

    def run_again(stored):
        sources = json.dumps([cell.source for cell in stored.cells])
        if sources not in done:
            done[sources] = really(stored, "again.ipynb", ".", None)
        return done[sources]

    return run_again


@pytest.fixture
def record(folder):
    return records.read_executed(folder / "a.ipynb")


def sealed(notebook):
    """The notebook, its digest taken anew, as someone would do who hides an edit."""
    notebook.metadata.mnist_nb[KEY] = digest(notebook)
    return notebook


def numbers_of(notebook) -> list[dict]:
    return the_record(notebook)["history"]


def the_record(notebook) -> dict:
    (found,) = [o.data[MIME] for c in notebook.cells for o in c.get("outputs", ())
                if MIME in o.get("data", {})]  # fmt: skip
    return found


# --- what a record says


def test_a_record_says_what_made_its_numbers(record):
    machine = record.metadata.mnist_nb
    assert {"numpy", "torch", "papermill", "mnist-nb"} <= set(machine.versions)
    assert machine.python and machine.platform and machine.processor
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    assert machine.threads == threads  # as the kernel has said, which is as a sweep's worker has
    assert "card" not in machine, "no card was used"
    assert machine.package_sha256 is None, "the notebook does not use mnist_nb"
    assert [cell.source for cell in record.cells if cell.cell_type == "code"][2] == COMPUTE
    assert the_record(record)["parameters"] == {"x": 0.3, "epochs": 4, "name": "n"}


@pytest.mark.parametrize("given", [{}, {"OMP_NUM_THREADS": "3"}])
def test_a_kernel_has_one_thread_unless_the_environment_says_otherwise(tmp_path, given):
    found = isolated(given, tmp_path)
    names = "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    assert [found[name] for name in names] == [given.get("OMP_NUM_THREADS", "1"), "1", "1"]


# --- verdicts


def test_a_record_that_nobody_has_touched_has_the_same_bits(folder, record, again):
    verdict = records.judge(folder / "a.ipynb", record, again(record))
    assert (verdict.state, verdict.why, list(verdict.machine)) == (SAME, [], [])
    assert {output.state for _, output in verdict.outputs} == {SAME}
    assert [output.what for _, output in verdict.outputs] == [
        "text", "text", "a picture", "the record",
    ]  # fmt: skip


def test_where_the_numbers_first_differ_is_said_by_epoch_and_by_line(record, again):
    for row in numbers_of(record)[2:]:
        row["val_loss"] += 0.25
    record.cells[2].outputs[0].text = record.cells[2].outputs[0].text.replace("Epoch 2", "Epoch 7")
    verdict = records.judge("a", sealed(record), again(record))
    where = {output.what: output.where for _, output in verdict.outputs if output.where}
    assert verdict.state == DIFFERS
    assert re.fullmatch(r"epoch 3, val_loss: [\d.]+, now [\d.]+; and 1 more", where["the record"])
    assert re.fullmatch(r"line 2: Epoch 7: [\d.]+, now Epoch 2: [\d.]+", where["text"])


def test_a_tolerance_holds_between_machines_but_not_on_the_same_one(record, again):
    numbers_of(record)[0]["val_loss"] += 0.0005
    verdict = records.judge("a", sealed(copy.deepcopy(record)), again(record))
    assert verdict.state == DIFFERS and "this machine" in verdict.why[-1]
    record.metadata.mnist_nb.processor = "a processor from elsewhere"
    verdict = records.judge("a", sealed(record), again(record))
    assert verdict.state == WITHIN and verdict.why == []
    (line,) = verdict.machine
    assert line.startswith("processor: a processor from elsewhere, here ")


def test_a_tolerance_above_the_ceiling_does_not_count(record, again):
    record.cells[-2].metadata.nbval["atol"] = 1e9
    record.metadata.mnist_nb.processor = "a processor from elsewhere"
    numbers_of(record)[0]["val_loss"] += 0.1
    assert records.judge("a", sealed(record), again(record)).state == DIFFERS


def test_what_verify_cannot_know_passes_and_what_it_can_see_of_the_machine_is_said(record, again):
    record.metadata.mnist_nb.wall_time_s = 0.1
    assert records.judge("a", sealed(record), again(record)).state == SAME
    record.metadata.mnist_nb.versions.numpy = "1.0"
    verdict = records.judge("a", sealed(record), again(record))
    assert verdict.state == SAME and verdict.machine[0].startswith("versions.numpy: 1.0, here ")


def test_a_record_without_metadata_is_verified_by_its_outputs(record, again):
    del record.metadata["mnist_nb"], record.metadata["papermill"]
    verdict = records.judge("a", record, again(record))
    assert (verdict.state, verdict.why) == (SAME, [])
    assert any(line.startswith("processor: not stated, here") for line in verdict.machine)


def test_addresses_progress_bars_and_outputs_with_nbvals_tag_do_not_count():
    def cell(address, bar, number, tags=()):
        outputs = [
            nbformat.v4.new_output("stream", name="stdout", text=f"<Line at 0x{address}>"),
            nbformat.v4.new_output("stream", name="stderr", text=bar),
            nbformat.v4.new_output("execute_result", {"text/plain": number}, execution_count=3),
        ]
        return nbformat.v4.new_code_cell(outputs=outputs, metadata={"tags": list(tags)})

    one, other = cell("7f00aa11bb22", " 10%", "1.5"), cell("7f11aa11bb22", " 90%", "1.5")
    assert [output.state for output in compare_cell(one, other)] == [SAME, SAME]
    other = cell("7f11aa11bb22", " 90%", "1.6")
    assert [output.state for output in compare_cell(one, other)] == [SAME, DIFFERS]
    ignored = cell("7f00aa11bb22", " 10%", "1.5", ["nbval-ignore-output"])
    assert {output.state for output in compare_cell(ignored, other)} == {IGNORED}


# --- a hundred tampered files


def tampered_number(notebook, chance, other):
    row = chance.choice(numbers_of(notebook))
    name = chance.choice(["train_loss", "val_loss", "val_accuracy"])
    row[name] = chance.choice([row[name] + 10.0 ** -chance.randint(1, 15), "NaN", 0, None])
    return "the record"


def tampered_print(notebook, chance, other):
    output = notebook.cells[2].outputs[0]
    places = [found.start() for found in re.finditer(r"\d", output.text)]
    place = chance.choice(places)
    digit = str((int(output.text[place]) + chance.randint(1, 9)) % 10)
    output.text = output.text[:place] + digit + output.text[place + 1 :]
    return "text"


def tampered_picture(notebook, chance, other):
    output = notebook.cells[4].outputs[0]
    if chance.random() < 0.5:
        output.metadata["image/png"]["alt"] += " It is blue."
    else:
        output.data["image/png"] = other.cells[4].outputs[0].data["image/png"]
    return "a picture"


def exchanged_output(notebook, chance, other):
    place = chance.choice([2, 3, 4, 5])
    notebook.cells[place].outputs = other.cells[place].outputs
    return {3: "text", 4: "a picture", 5: "the record"}.get(place, "text")


def lost_output(notebook, chance, other):
    notebook.cells[chance.choice([2, 3, 4, 5])].outputs = []
    return "the outputs"


def edited_source(notebook, chance, other):
    old, new = chance.choice(
        [("3.9", "3.8"), ("y / 2", "y / 3"), (".3f", ".2f"), ("1 - y}", "y}")]
    )
    assert old in notebook.cells[2].source
    notebook.cells[2].source = notebook.cells[2].source.replace(old, new)
    return "differs"


def edited_parameter(notebook, chance, other):
    value = chance.choice(["0.25", "0.35"])
    notebook.cells[1].source = notebook.cells[1].source.replace("0.3", value)
    if chance.random() < 0.5:
        notebook.metadata.papermill.parameters["x"] = float(value)
    return "differs"


def listed_parameter(notebook, chance, other):
    if chance.random() < 0.5:
        notebook.metadata.papermill.parameters["x"] = 0.25
        return "the parameter x is listed as 0.25, but ran as 0.3"
    the_record(notebook)["parameters"]["x"] = 0.25
    return "the record"


HIDDEN = (tampered_number, tampered_print, tampered_picture, exchanged_output, lost_output,
          edited_source, edited_parameter, listed_parameter)  # fmt: skip


def careless_metadata(notebook, chance, other):
    machine = notebook.metadata.mnist_nb
    name = chance.choice(["wall_time_s", "processor", "num_threads", "git_commit", "python"])
    machine[name] = "5"
    return "what it says of the machine"


def lost_digest(notebook, chance, other):
    del notebook.metadata.mnist_nb[KEY]
    return "the digest itself"


def careless_text(notebook, chance, other):
    notebook.cells[-1].source = notebook.cells[-1].source.replace("larger", "smaller")
    return f"the source of cell {notebook.cells[-1].id}"


def test_a_hundred_tampered_files_of_a_hundred_are_named(folder, record, again):
    other = records.read_executed(folder / "b.ipynb")
    chance = random.Random(0)
    careless = careless_metadata, careless_text, lost_digest
    ways = [*itertools.product(HIDDEN, (True, False)), *((way, False) for way in careless)]
    for number in range(100):
        tamper, hides_it = ways[number % len(ways)]
        notebook = copy.deepcopy(record)
        named = tamper(notebook, chance, copy.deepcopy(other))
        if hides_it:
            sealed(notebook)
        verdict = records.judge("a", notebook, again(notebook))
        each = [f"{o.what}: {o.state}" for _, o in verdict.outputs if o.state != SAME]
        said = "\n".join([*verdict.why, *each])
        assert verdict.state in ("edited", "differs"), (tamper, hides_it)
        assert named in said, (tamper, hides_it, said)
        assert hides_it == ("changed since the run" not in said), (tamper, said)


# --- the command


@pytest.fixture
def say(folder, again, monkeypatch):
    """The command, which runs nothing again that has been run."""
    monkeypatch.setattr(records, "run_again", lambda stored, *_: again(stored))
    return lambda *paths: CliRunner().invoke(main, ["verify", *map(str, paths)])


def test_the_exit_code_tells_the_same_from_different_not_run_and_refused(
    say, folder, record, again, tmp_path
):
    done = say(folder / "a.ipynb")
    assert done.exit_code == 0 and done.stdout.endswith("1 record: 1 the same bits\n")
    assert re.search(r"cell In \[3\] \(\w+\), text with 4 numbers: the same bits", done.stdout)
    numbers_of(record)[1]["val_loss"] = 0.125
    nbformat.write(record, tmp_path / "bent.ipynb")
    done = say(tmp_path / "bent.ipynb")
    assert done.exit_code == 1 and "epoch 2, val_loss: 0.125, now 0." in done.stdout
    numbers_of(record)[1]["val_loss"] = numbers_of(again(record))[1]["val_loss"]
    record.cells[2].metadata["tags"] = ["nbval-ignore-output"]
    nbformat.write(sealed(record), tmp_path / "hidden.ipynb")
    assert "(3 outputs, 15 numbers; 1 not compared)" in say(tmp_path / "hidden.ipynb").stdout
    done = say(folder / "n.ipynb")
    assert done.exit_code == 3 and "was never executed" in done.stdout
    (tmp_path / "empty").mkdir()
    shutil.make_archive(tmp_path / "crate", "zip", tmp_path / "empty")
    done = say(tmp_path / "crate.zip")
    assert done.exit_code == 3 and "is a zip; unzip it first" in done.stdout
    done = say(tmp_path / "empty")
    assert done.exit_code == 2 and done.stderr.startswith("Error: no notebook is in")


def test_a_record_of_a_run_that_failed_or_was_replaced_is_left_out_of_a_folder(record, tmp_path):
    record.metadata.mnist_nb["sweep_notebook"] = "n"
    names = "n.ipynb", "n-2.ipynb", "n.x=1.failed.ipynb", "n.interrupted-2.ipynb"
    for name in names:
        nbformat.write(record, tmp_path / name)
    assert records.records_in([tmp_path]) == ([tmp_path / "n-2.ipynb"], 3)
    named = [tmp_path / name for name in names]
    assert records.records_in([*named, tmp_path])[0] == named


def test_several_records_are_run_again_side_by_side_and_the_edited_one_is_named(
    folder, record, tmp_path
):
    numbers_of(record)[3]["train_loss"] = 0.5
    nbformat.write(record, tmp_path / "c.ipynb")
    (tmp_path / "d.ipynb").write_text("{")
    paths = [folder / "a.ipynb", tmp_path / "c.ipynb", tmp_path / "d.ipynb"]
    done = CliRunner().invoke(main, ["verify", *map(str, paths)])
    assert done.exit_code == 1, done.output
    assert f"{folder / 'a.ipynb'}: the same bits (4 outputs, " in done.stdout
    assert f"{tmp_path / 'c.ipynb'}: differs (4 outputs, " in done.stdout
    assert f"{tmp_path / 'd.ipynb'}: not verified, " in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("3 records: ") and "1 differs" in last and "1 not verified" in last
