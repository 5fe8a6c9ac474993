"""What `export` packs: records as a Process Run Crate, the same bytes each time, signed."""

import hashlib
import html
import io
import json
import re
import shutil
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from conftest import PROJECT

from mnist_nb.record import MIME
from mnist_nb.tools.cli import main

MACHINE = {
    "versions": {"mnist-nb": "0.1.0", "torch": "2.14.1+cpu"}, "python": "3.11.7",
    "platform": "Linux-6", "processor": "Xeon", "threads": {"OMP_NUM_THREADS": "1", "MKL": None},
    "git_commit": "abc", "package_sha256": "f00", "data_sha256": {"train-images": "d1"},
}  # fmt: skip
SSH = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen of OpenSSH")


def store(path: Path, *rows: dict, code: str = "train()", machine=MACHINE, **parameters) -> Path:
    """Store a record as papermill leaves it: a row of numbers per epoch."""
    history = [{"epoch": epoch} | row for epoch, row in enumerate(rows or [{"loss": 0.5}], 1)]
    record = {"schema": 1, "notebook": "n", "parameters": parameters, "history": history}
    given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    output = {"data": {MIME: record}, "metadata": {}, "output_type": "display_data"}
    cells = [
        {"cell_type": "code", "execution_count": n, "id": f"c{n}", "metadata": {"tags": tags},
         "source": source, "outputs": outputs}
        for n, source, tags, outputs in (
            (1, given, ["injected-parameters"], []), (2, code, [], [output]))
    ]  # fmt: skip
    times = {"start_time": "2026-11-27T23:59:59.123456+00:00", "exception": None,
             "end_time": "2026-11-28T01:00:01.987654+01:00", "parameters": parameters}  # fmt: skip
    content = {"cells": cells, "metadata": {"papermill": times, "mnist_nb": machine},
               "nbformat": 4, "nbformat_minor": 5}  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True))
    return path


def say(*arguments):
    done = CliRunner().invoke(main, ["export", *map(str, arguments)])
    assert done.exit_code == 0 or isinstance(done.exception, SystemExit), done.exception
    return done


def exported(*arguments) -> tuple[bytes, dict[str, dict]]:
    """The bytes of the zip, and its entities by @id."""
    path = Path(str(arguments[0])).parent / "crate.zip"
    done = say(*arguments, "-o", path)
    assert done.exit_code == 0, done.output
    packed = path.read_bytes()
    path.unlink()
    graph = json.loads(zipped(packed).read("ro-crate-metadata.json"))["@graph"]
    by_id = {entity["@id"]: entity for entity in graph}
    assert len(by_id) == len(graph)
    return packed, by_id


def zipped(packed: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(packed))


def of_type(graph: dict, kind: str) -> list[dict]:
    return [entity for entity in graph.values() if entity["@type"] == kind]


def pairs(graph: dict, references) -> dict:
    """The PropertyValues among `references`, as names and values."""
    found = [graph[one["@id"]] for one in ([references] if isinstance(references, dict)
                                           else references)]  # fmt: skip
    return {e["name"]: e["value"] for e in found if e["@type"] == "PropertyValue"}


@pytest.fixture
def runs(tmp_path):
    for lr in (0.1, 0.01):
        store(tmp_path / "runs" / f"lr={lr}" / "n.ipynb", {"loss": 2.0}, {"loss": lr}, lr=lr,
              seed=3)  # fmt: skip
    return tmp_path / "runs"


# --- what the crate says


def test_each_record_is_an_action_with_parameters_results_times_and_what_it_ran_with(runs):
    _, graph = exported(runs)
    first, second = of_type(graph, "CreateAction")
    assert pairs(graph, first["object"]) == {
        "lr": 0.01, "seed": 3, "SHA-256 of train-images": "d1"}  # fmt: skip
    assert pairs(graph, first["result"]) == {"epoch": 2, "loss": 0.01}
    assert {"@id": "runs/lr=0.01/n.ipynb"} in first["result"]
    assert pairs(graph, first["environment"]) == {"OMP_NUM_THREADS": "1"}
    assert (first["startTime"], first["endTime"]) == (
        "2026-11-27T23:59:59.123+00:00", "2026-11-28T00:00:01.987+00:00")  # fmt: skip
    assert "lr=0.01, seed=3" in first["description"] and "Xeon" in first["description"]
    assert first["instrument"] == second["instrument"], "one notebook, with other parameters"
    notebook = graph[first["instrument"]["@id"]]
    needs = {graph[one["@id"]]["name"]: graph[one["@id"]]
             for one in notebook["softwareRequirements"]}  # fmt: skip
    assert {name: entity["softwareVersion"] for name, entity in needs.items()} == {
        "mnist-nb": "0.1.0", "torch": "2.14.1+cpu", "Python": "3.11.7"}  # fmt: skip
    assert "identifier" not in needs["torch"]
    assert needs["mnist-nb"]["identifier"] == ["git commit abc", "SHA-256 of its code f00"]
    root = graph["./"]
    assert root["datePublished"] == "2026-11-28" and root["mentions"] == [
        {"@id": "#run-1"}, {"@id": "#run-2"}]  # fmt: skip
    assert root["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}


def test_another_code_or_version_is_another_instrument(runs):
    store(runs / "code" / "n.ipynb", code="train(more)", lr=0.1, seed=3)
    store(runs / "torch" / "n.ipynb", machine=MACHINE | {"python": "3.12.1"}, lr=0.1, seed=3)
    _, graph = exported(runs)
    assert len({action["instrument"]["@id"] for action in of_type(graph, "CreateAction")}) == 3


def test_every_file_is_there_with_its_checksum_and_every_reference_leads_to_an_entity(runs):
    store(runs / "a b" / "grün #1 50%.ipynb", lr="<b>&")
    packed, graph = exported(runs)
    with zipped(packed) as archive:
        assert archive.testzip() is None
        for entity in of_type(graph, "File"):
            content = archive.read(unquote(entity["@id"]))
            assert entity["contentSize"] == str(len(content))
            assert entity["sha256"] == hashlib.sha256(content).hexdigest()
            assert content == (runs.parent / unquote(entity["@id"])).read_bytes()
        listed = {unquote(part["@id"]) for part in graph["./"]["hasPart"]}
        assert len(listed) == 3
        assert {*archive.namelist()} == listed | {
            "ro-crate-metadata.json", "ro-crate-preview.html"}  # fmt: skip
        page = archive.read("ro-crate-preview.html").decode()
    links = {unquote(html.unescape(link)) for link in re.findall(r'href="(.+?)"', page)}
    assert links == listed | {"ro-crate-metadata.json"}
    assert "lr=&lt;b&gt;&amp;" in page and "<b>" not in page
    said = json.dumps(list(graph.values()))
    missing = {id_ for id_ in re.findall(r'\{"@id": "([^"]+)"\}', said) if id_ not in graph}
    assert missing == {"https://w3id.org/ro/crate/1.1"}
    assert not any(isinstance(value, list) and len(value) < 2
                   for entity in graph.values() for value in entity.values())  # fmt: skip


def test_values_that_no_property_can_have_become_texts(tmp_path):
    path = store(tmp_path / "n.ipynb", {"loss": "NaN", "top": "Infinity", "lost": None},
                 sizes=[1, 2], options={"k": None}, none=None, flag=True, big=2**70)  # fmt: skip
    _, graph = exported(path)
    (action,) = of_type(graph, "CreateAction")
    values = pairs(graph, action["object"])
    assert values.pop("flag") is True and values.pop("big") == 2**70
    assert values == {"sizes": "[1, 2]", "options": '{"k": null}', "none": "null",
                      "SHA-256 of train-images": "d1"}  # fmt: skip
    results = pairs(graph, action["result"])
    assert results == {"epoch": 1, "loss": "NaN", "top": "Infinity"}
    assert graph["./"]["hasPart"] == {"@id": "runs/n.ipynb"}, "a list of one is its item"


def test_what_a_record_does_not_say_the_crate_does_not_say(tmp_path):
    path = store(tmp_path / "n.ipynb", machine={"data_sha256": {"train-images": "d1"}}, lr=1)
    content = json.loads(path.read_text())
    del content["metadata"]["papermill"]
    path.write_text(json.dumps(content))
    _, graph = exported(path)
    (action,) = of_type(graph, "CreateAction")
    assert not {"startTime", "endTime", "environment", "agent"} & set(action)
    assert pairs(graph, action["object"]) == {"lr": 1}, "it need not have read the data"
    assert "softwareRequirements" not in graph[action["instrument"]["@id"]]
    assert graph["./"]["datePublished"] == datetime.now(UTC).date().isoformat()
    assert graph["./"]["license"] == {"@id": "#licence"}


def test_the_licence_is_the_one_that_is_given(runs):
    spdx, web = "https://spdx.org/licenses/CC-BY-4.0", "https://example.org/terms"
    for given, id_ in {"CC-BY-4.0": spdx, web: web}.items():
        _, graph = exported(runs, "--license", given)
        assert graph["./"]["license"] == {"@id": id_} and graph[id_]["name"] == given


# --- which records, and the bytes


def test_the_same_records_give_the_same_bytes_wherever_they_are_and_in_whatever_order(
    runs, tmp_path
):
    shutil.copytree(runs, tmp_path / "else" / "where", copy_function=shutil.copy)
    there = sorted((tmp_path / "else" / "where").rglob("*.ipynb"), reverse=True)
    assert exported(*there)[0] == exported(runs)[0]
    store(there[0], lr=0.5)
    assert exported(*there)[0] != exported(runs)[0]


def test_runs_that_failed_are_left_out_and_counted_as_in_results(runs, tmp_path):
    store(runs / "n.failed.ipynb", lr=9)
    done = say(runs, runs / "n.failed.ipynb", "-o", tmp_path / "c.zip")
    assert done.stderr == "left out: 1 (the run failed or was interrupted)\n"
    assert done.stdout == f"{tmp_path / 'c.zip'}: 2 records\n"


# --- what is refused


def test_what_cannot_be_exported_is_refused_in_a_sentence_and_nothing_is_written(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    store(tmp_path / "bad" / "n.failed.ipynb")
    (tmp_path / "old.zip").write_text("kept")
    (tmp_path / "signed.zip.sig").write_text("kept")
    half = runs / "lr=0.1" / "n.ipynb"
    broken = tmp_path / "broken.ipynb"  # what says of the run is whole, and the rest is not
    broken.write_text(half.read_text().replace('"source": "train()"', '"source": oops'))
    cut = tmp_path / "cut.ipynb"
    cut.write_text(half.read_text()[:-100])
    strange = store(tmp_path / "strange" / "a\nb.ipynb")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    new = tmp_path / "c.zip"
    for arguments, words in (
        ([tmp_path / "empty", "-o", new], "no record of a run was found in"),
        ([tmp_path / "bad", "-o", new], "(left out: 1 (the run failed or was interrupted)); give"),
        ([tmp_path / "no.ipynb", runs, "-o", new], "no.ipynb: is not a file; nothing was export"),
        ([cut, runs, "-o", new], "cut.ipynb: is not a complete notebook; nothing was exported"),
        ([broken, runs, "-o", new], "broken.ipynb: is not a complete notebook"),
        ([strange, "-o", new], "cannot be the name of a file on every system; rename it"),
        ([runs, "-o", tmp_path / "old.zip"], "old.zip exists, and is kept"),
        ([runs, "-o", tmp_path / "signed.zip"], "signed.zip.sig exists, and is kept"),
        ([runs, "-o", tmp_path / "no" / "c.zip"], "cannot be written (No such file or directory)"),
        ([runs, "-o", new, "--license", "CC BY"], "'CC BY' is neither an SPDX identifier"),
        ([runs, "-o", new, "--key", tmp_path / "no.key"], "there is no key"),
        ([runs], "Missing option '-o'"),
    ):  # fmt: skip
        done = say(*arguments)
        assert done.exit_code == 2 and words in done.stderr, (words, done.stderr)
        assert words == "Missing option '-o'" or done.stderr.count("\n") == 1, done.stderr
    after = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    assert after == before


# --- signatures


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@SSH
def test_the_line_in_the_guide_verifies_a_signed_crate_and_no_changed_one(runs, tmp_path, key):
    done = say(runs, "-o", tmp_path / "crate.zip", "--key", key)
    assert (done.exit_code, done.stdout) == (
        0, f"{tmp_path / 'crate.zip'}: 2 records, signed in crate.zip.sig\n")  # fmt: skip
    guide = (PROJECT / "docs" / "running.md").read_text()
    (line,) = re.findall(r"^    (ssh-keygen -Y verify .+)$", guide, re.M)

    def check() -> int:
        return subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True).returncode

    assert check() == 0
    other = exported(runs / "lr=0.1")[0]
    (tmp_path / "crate.zip").write_bytes(other)
    assert check() != 0


@SSH
def test_a_key_that_cannot_sign_is_refused_in_a_sentence(runs, tmp_path):
    (tmp_path / "key").write_text("not a key")
    (tmp_path / "key").chmod(0o600)
    done = say(runs, "-o", tmp_path / "c.zip", "--key", tmp_path / "key")
    assert done.exit_code == 2 and "cannot sign (" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.glob("*.zip*"))


def test_without_ssh_keygen_signing_is_refused_in_a_sentence(runs, tmp_path, monkeypatch):
    (tmp_path / "key").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    done = say(runs, "-o", tmp_path / "c.zip", "--key", tmp_path / "key")
    assert done.exit_code == 2 and not list(tmp_path.glob("*.zip*"))
    assert done.stderr == ("Error: signing needs the program ssh-keygen, which is not installed; "
                           "install OpenSSH, or leave out --key\n")  # fmt: skip
    assert say(runs, "-o", tmp_path / "c.zip").exit_code == 0
