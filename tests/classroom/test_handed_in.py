"""What learners hand in: names of files, lost metadata, copied cells, and one after another."""

import copy
import csv
import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import submissions
from nbformat.v4 import new_code_cell, new_markdown_cell
from submissions import ORIGINALS, solved
from test_classroom import needs_nbgrader

from mnist_nb.tools.classroom import cells as cells_module
from mnist_nb.tools.classroom import grading, handed_in, repair
from mnist_nb.tools.classroom.cells import Cell, NotebookError, name_of, read_cells, same
from mnist_nb.tools.classroom.entries import Source, learners
from mnist_nb.tools.classroom.handed_in import files, matched
from mnist_nb.tools.classroom.repair import repaired
from mnist_nb.tools.classroom.student import student_version

pytestmark = needs_nbgrader
FIRST, SECOND = "01_architecture", "02_optimizer"


@pytest.fixture(scope="module")
def blanks():
    return {name: student_version(original) for name, original in ORIGINALS.items()}


@pytest.fixture
def grade(tmp_path, monkeypatch):
    """Grade the folder `sub` without running anything: whatever can be read has all points."""
    asked = []

    def run(sandbox, examiner, job):
        asked.append(job["exercise"])
        tests = {cell["id"]: {"passed": True, "outputs": []} for cell in job["cells"]}
        return {"cells": [[] for _ in tests], "tests": tests, "stopped": "", "found": []}

    monkeypatch.setattr(grading.Sandbox, "run", run)
    # nobody asks it, and its process would import torch each time
    no_process = SimpleNamespace(stop=lambda: None)
    monkeypatch.setattr(grading, "Examiner", lambda originals: no_process)
    (tmp_path / "sub").mkdir()

    def grade(**options):
        asked.clear()
        for _ in grading.grade(tmp_path / "sub", submissions.EXERCISES, tmp_path / "out",
                               contained=False, seconds=60, **options):  # fmt: skip
            pass
        return table(tmp_path)

    grade.asked, grade.sub = asked, tmp_path / "sub"
    return grade


def table(folder: Path) -> list[dict]:
    with (folder / "out" / "grades.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def totals(rows: list[dict]) -> dict[str, float]:
    return {row["learner"]: float(row["points"]) for row in rows if row["exercise"] == "total"}


def hand_in(folder, name: str = FIRST, called: str | None = None, notebook=None) -> Path:
    path = folder / (called or f"{name}.ipynb")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(solved(notebook or ORIGINALS[name])), encoding="utf-8")
    return path


def zip_of(path: Path, **files: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


# the points of a right notebook before any are given by hand
ALL, OF_SECOND = submissions.points(FIRST), submissions.points(SECOND)
RIGHT = nbformat.writes(solved(ORIGINALS[FIRST])).encode()


# --- one after another


@pytest.mark.parametrize(
    "content",
    [b'{"nbformat": "\\ud800"}', b'{"cells": 5}', b"[]", b"[" * 100_000, b"", b"\xff\xfe\x00",
     b'{"cells": [{"cell_type": 5, "metadata": 7, "source": [8], "id": []}, 9]}',
     b'{"cells": [{"cell_type": "code", "source": "\\ud800", "metadata": '
     b'{"nbgrader": {"grade_id": "\\ud800"}}}]}'],
)  # fmt: skip
def test_a_file_that_no_notebook_is_leaves_the_learners_after_it_their_grades(grade, content):
    hand_in(grade.sub / "zoe")
    (grade.sub / "ada").mkdir()
    (grade.sub / "ada" / f"{FIRST}.ipynb").write_bytes(content)
    rows = grade()
    assert totals(rows) == {"ada": 0, "zoe": ALL}
    said = {row["remark"] for row in rows if float(row["points"])}
    assert said <= {"", "2 points to be given by hand"}
    first = next(row["remark"] for row in rows if row["exercise"] == FIRST)
    assert first.startswith("not handed in; found: 01_architecture.ipynb (")


@pytest.mark.parametrize(
    "name",
    ["ren\udce9e", "x" * 243, "ä" * 125, "x" * 255, "a\nb\x1b[2J", " ", "=1+1", "total"],
)
def test_a_learner_may_have_any_name_that_a_folder_can_have(grade, name):
    hand_in(grade.sub / name)
    hand_in(grade.sub / "zoe")
    rows = grade()
    assert list(totals(rows).values()) == [ALL, ALL]
    pages = list((grade.sub.parent / "out").glob("*.html"))
    assert len(pages) == 2 and all(f": {ALL} of " in page.read_text() for page in pages)


def test_an_exercise_that_nobody_handed_in_is_in_no_total_and_a_file_called_like_it_counts(grade):
    hand_in(grade.sub / "ada", FIRST)
    hand_in(grade.sub / "zoe", SECOND)
    assert {row["exercise"] for row in grade()} == {FIRST, SECOND, "total"}
    (grade.sub / "zoe" / "05_training_loop.pdf").write_bytes(b"%PDF")
    rows = grade()
    assert {row["exercise"] for row in rows} == {FIRST, SECOND, "05_training_loop", "total"}
    most = sum(float(row["max"]) for row in rows if row["learner"] == "ada")
    assert most == 2 * float(rows[3]["max"])


@pytest.mark.parametrize("chapter", sorted(submissions.EXERCISES.parent.glob("*.ipynb")))
def test_a_chapter_is_taken_for_no_exercise(tmp_path, blanks, chapter):
    (tmp_path / chapter.name).write_bytes(chapter.read_bytes())
    found = matched([Source(tmp_path)], blanks)
    assert not [name for name, one in found.items() if one.cells is not None]


def test_no_cell_of_the_table_is_a_formula(grade):
    for name in ("=1+1", "+1", "-1", "@SUM(1)", "fine"):
        hand_in(grade.sub / name, called="=cmd_01_architecture.rar")
    hand_in(grade.sub / "fine", called='x;"=2;"01_architecture.rar')
    cells = {cell for row in grade() for cell in row.values()}
    assert {"'=1+1", "'+1", "'-1", "'@SUM(1)", "fine"} < cells
    with (grade.sub.parent / "out" / "grades.csv").open(newline="") as file:  # as in Europe
        cells |= {cell for row in csv.reader(file, delimiter=";") for cell in row}
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_what_one_learner_causes_in_the_grader_is_a_remark_of_his_own(grade, monkeypatch):
    def broken(sources, blanks):
        if sources[0].path.name == "ada":
            raise RuntimeError("what nobody\nforesaw \ud800")
        return matched(sources, blanks)

    monkeypatch.setattr(grading, "matched", broken)
    for name in ("ada", "zoe"):
        hand_in(grade.sub / name)
    rows = grade()
    assert totals(rows) == {"ada": 0, "zoe": ALL}
    assert rows[0]["remark"] == "what nobody foresaw \ufffd"


def test_a_grading_that_was_ended_continues_where_it_was(grade, monkeypatch):
    for name in ("ada", "bob", "zoe"):
        hand_in(grade.sub / name)
    pages = []

    def ended(path, *rest):
        if len(pages) == 2:
            raise KeyboardInterrupt
        pages.append(path)
        write_page(path, *rest)

    write_page = grading.write_page
    monkeypatch.setattr(grading, "write_page", ended)
    with pytest.raises(KeyboardInterrupt):
        grade()
    graded = totals(table(grade.sub.parent))  # the first two that were ready
    assert len(graded) == 2 and set(graded.values()) == {ALL}
    with (grade.sub.parent / "out" / ".grades.jsonl").open("a") as file:
        file.write('["half of a li')
    monkeypatch.setattr(grading, "write_page", write_page)
    assert totals(grade()) == {"ada": ALL, "bob": ALL, "zoe": ALL} and grade.asked == [FIRST]
    table_before = (grade.sub.parent / "out" / "grades.csv").read_bytes()
    assert totals(grade()) == {"ada": ALL, "bob": ALL, "zoe": ALL} and grade.asked == []
    assert (grade.sub.parent / "out" / "grades.csv").read_bytes() == table_before


def test_what_changed_is_graded_again_and_all_if_it_is_asked_for(grade):
    for name in ("ada", "zoe"):
        hand_in(grade.sub / name)
    hand_in(grade.sub / "zoe", SECOND)
    grade()
    hand_in(grade.sub / "ada", SECOND)
    both = [FIRST, SECOND]
    assert totals(grade()) == dict.fromkeys(("ada", "zoe"), ALL + OF_SECOND)
    assert grade.asked == both
    (grade.sub.parent / "out" / "zoe.html").unlink()
    grade()
    assert grade.asked == both
    grade(again=True)
    assert sorted(grade.asked) == sorted(2 * both)


# --- names of files


def remarks(folder: Path, blanks, name: str = FIRST) -> tuple[bool, str]:
    found = matched([Source(folder)], blanks)[name]
    return found.cells is not None, "; ".join(found.remarks)


@pytest.mark.parametrize(
    "called",
    ["01_architecture (1).ipynb", "notebooks/exercises/01_architecture.ipynb",
     "01_ARCHITECTURE.IPYNB", "01_architecture_v2.ipynb", "01_architecture-1.ipynb", "work.ipynb",
     "01_architecture.ipynb.txt", "Untitled folder/mine.ipynb.json"],
)  # fmt: skip
def test_a_notebook_is_known_by_what_is_in_it_whatever_it_is_called(tmp_path, blanks, called):
    hand_in(tmp_path, called=called)
    assert remarks(tmp_path, blanks) == (True, f"found as {called}")
    assert remarks(tmp_path, blanks, SECOND) == (False, "not handed in")


def test_a_notebook_with_its_own_name_has_no_remark(tmp_path, blanks):
    hand_in(tmp_path)
    assert remarks(tmp_path, blanks) == (True, "")


def test_zips_are_opened_and_what_macos_and_jupyter_leave_there_is_not(tmp_path, blanks):
    zip_of(tmp_path / "a.zip", **{
        "__MACOSX/01_architecture.ipynb": RIGHT,
        ".ipynb_checkpoints/01_architecture.ipynb": b"x",
        "mine/01_architecture.ipynb": RIGHT,
    })  # fmt: skip
    hand_in(tmp_path / "__MACOSX")
    hand_in(tmp_path / ".ipynb_checkpoints")
    assert remarks(tmp_path, blanks) == (True, "found as a.zip/mine/01_architecture.ipynb")


def test_of_two_notebooks_the_one_with_more_written_counts_and_the_remark_names_both(
    tmp_path, blanks
):
    hand_in(tmp_path, notebook=blanks[FIRST])
    hand_in(tmp_path, called="01_architecture_v2.ipynb")
    new = "01_architecture_v2.ipynb"
    said = f"found as {new}; {new} counts, with 7 of 7 tasks written, not 01_architecture.ipynb"
    assert remarks(tmp_path, blanks) == (True, said)
    changed = submissions.changed(FIRST, margin="def margin(scores):\n    return 1")
    hand_in(tmp_path, notebook=changed)  # now both are written
    assert remarks(tmp_path, blanks)[1].startswith("01_architecture.ipynb counts")
    hand_in(tmp_path)  # the same twice
    assert remarks(tmp_path, blanks) == (True, "")


def test_what_looks_like_a_submission_and_is_none_is_named(tmp_path, blanks):
    hand_in(tmp_path, SECOND, called=f"{FIRST}.ipynb")
    (tmp_path / "work.rar").write_bytes(b"Rar!")
    (tmp_path / "bad.zip").write_bytes(b"PK")
    (tmp_path / "01_architecture.pdf").write_bytes(b"%PDF")
    (tmp_path / "notes.txt").write_bytes(b"notes")
    hand_in(tmp_path, called="own.ipynb", notebook=nbformat.v4.new_notebook())
    there, said = remarks(tmp_path, blanks)
    assert not there and said.startswith("not handed in; found: 01_architecture.ipynb "
                                         "(it has the cells of 02_optimizer), ")  # fmt: skip
    for name in ("work.rar", "bad.zip", "01_architecture.pdf", "own.ipynb"):
        assert name in said
    assert "notes.txt" not in said
    assert remarks(tmp_path, blanks, SECOND) == (True, f"found as {FIRST}.ipynb")
    _, third = remarks(tmp_path, blanks, "03_loss")  # what has another exercise's name is not its
    assert "work.rar" in third and FIRST not in third


def test_links_are_not_followed(tmp_path, blanks):
    (tmp_path / f"{FIRST}.ipynb").symlink_to(submissions.EXERCISES / f"{FIRST}.ipynb")
    (tmp_path / "all").symlink_to(submissions.EXERCISES)
    assert remarks(tmp_path, blanks) == (False, "not handed in")


def test_downloads_of_moodle_and_canvas_and_zips_beside_the_folders_name_their_learners(
    tmp_path, blanks
):
    hand_in(tmp_path / "Ada Lovelace_123_assignsubmission_file_")
    hand_in(tmp_path, SECOND, called=f"Ada Lovelace_123_assignsubmission_file_{SECOND}.ipynb")
    hand_in(tmp_path, called="hoppergrace_LATE_4711_99_01_architecture-1.ipynb")
    hand_in(tmp_path, SECOND, called="hoppergrace_4711_100_02_optimizer.ipynb")
    zip_of(tmp_path / "zoe.zip", **{"01_architecture.ipynb": RIGHT})
    zip_of(tmp_path / "class.zip", **{
        "Emmy Noether_7_assignsubmission_file_/01_architecture.ipynb": RIGHT,
        "Sofia K_8_assignsubmission_file_01_architecture.ipynb": RIGHT,
    })  # fmt: skip
    (tmp_path / "__MACOSX" / "x").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("notes")
    found = {who: matched(sources, blanks) for who, sources in learners(tmp_path).items()}
    there = {who: [name for name, one in each.items() if one.cells] for who, each in found.items()}
    assert there == {
        "Ada Lovelace_123": [FIRST, SECOND], "Emmy Noether_7": [FIRST], "Sofia K_8": [FIRST],
        "hoppergrace_4711": [FIRST, SECOND], "zoe": [FIRST],
    }  # fmt: skip


def test_a_folder_in_a_zip_does_not_stand_for_a_learner_who_has_an_entry(tmp_path, blanks):
    hand_in(tmp_path, called="ada_123.ipynb", notebook=blanks[FIRST])
    folder = "ada_123_assignsubmission_file_"
    zip_of(tmp_path / "mallory_124.zip", **{f"{folder}/01_architecture.ipynb": RIGHT})
    zip_of(tmp_path / "class.zip", **{
        f"{folder}/01_architecture.ipynb": RIGHT,
        "Emmy Noether_7_assignsubmission_file_/01_architecture.ipynb": RIGHT,
    })  # fmt: skip
    found = {who: matched(mine, blanks)[FIRST] for who, mine in learners(tmp_path).items()}
    assert {who: one.cells is not None for who, one in found.items()} == {
        "Emmy Noether_7": True, "ada_123": True, "mallory_124": False,
    }  # fmt: skip
    ada, mallory = (found[who].remarks for who in ("ada_123", "mallory_124"))
    assert ada[0] == "found as ada_123.ipynb" and [line.split()[0] for line in ada[1:]] == [
        "class.zip", "mallory_124.zip",
    ]  # fmt: skip
    assert mallory == ["not handed in", "mallory_124.zip has files of someone who handed in an "
                       "entry of their own; they were not looked at"]  # fmt: skip


def in_zip(notebook, name: str, *people: str) -> dict[str, bytes]:
    content = nbformat.writes(solved(notebook)).encode()
    return {f"{who}_assignsubmission_file_/{name}.ipynb": content for who in people}


def test_of_zips_that_name_a_learner_the_one_with_most_people_counts_before_the_others(
    tmp_path, blanks
):
    right, second = ORIGINALS[FIRST], ORIGINALS[SECOND]
    zip_of(tmp_path / "class.zip", **in_zip(blanks[FIRST], FIRST, "ada_123", "emmy_7"))
    for name in ("aaa_124.zip", "mallory_124.zip"):  # before it, and after it
        members = in_zip(right, FIRST, "ada_123") | in_zip(second, SECOND, "ada_123")
        zip_of(tmp_path / name, **members)
    found = {who: matched(mine, blanks) for who, mine in learners(tmp_path).items()}
    assert [*found] == ["ada_123", "emmy_7"]
    ada = found["ada_123"]
    assert ada[FIRST].remarks[0].startswith("found as class.zip/")
    assert "counts, with 0 of 7" in ada[FIRST].remarks[1] and "mallory" in ada[FIRST].remarks[1]
    assert ada[SECOND].cells  # a class can have a zip for each exercise


def test_a_flood_in_a_zip_behind_leaves_the_classes_zip_its_files(tmp_path, blanks, monkeypatch):
    monkeypatch.setattr(handed_in, "MOST", 5)
    zip_of(tmp_path / "class.zip", **in_zip(ORIGINALS[FIRST], FIRST, "ada_123", "emmy_7"))
    names = (f"ada_123_assignsubmission_file_/{k}.txt" for k in range(10))
    zip_of(tmp_path / "aaa.zip", **dict.fromkeys(names, b""))
    assert matched(learners(tmp_path)["ada_123"], blanks)[FIRST].cells


@pytest.mark.parametrize("newest", ["class (1).zip", "class.zip"])
def test_a_class_in_two_zips_of_one_size_has_what_is_in_either(tmp_path, blanks, newest):
    for name in ("class (1).zip", "class.zip"):
        notebook = ORIGINALS[FIRST] if name == newest else blanks[FIRST]
        zip_of(tmp_path / name, **in_zip(notebook, FIRST, "ada_123", "emmy_7"))
    ada = matched(learners(tmp_path)["ada_123"], blanks)[FIRST]
    assert ada.remarks[0].startswith(f"found as {newest}/")


def test_the_members_of_a_zip_are_made_a_set_once(tmp_path):
    class Name(str):
        hashed = 0

        def __hash__(self):
            Name.hashed += 1
            return super().__hash__()

    names = [f"{k}.txt" for k in range(50)]
    zip_of(tmp_path / "class.zip", **dict.fromkeys(names, b""))
    found = files([Source(tmp_path / "class.zip", tuple(map(Name, names[:40])))])
    assert len(list(found)) == 40 and Name.hashed == 40


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, inside in files.items():
            archive.writestr(name, inside)
    return content.getvalue()


@pytest.mark.parametrize(
    ("inner", "most"),
    [(zipped(**{"a.zip": bytes(40_000) + zipped()}), 2), (zipped(), 50)],
    ids=["large", "empty"],
)
def test_zips_in_zips_are_unpacked_up_to_a_sum(tmp_path, blanks, monkeypatch, inner, most):
    monkeypatch.setattr(handed_in, "LARGEST", 100_000)
    monkeypatch.setattr(handed_in, "MOST", 50)
    opened, read = [], zipfile.ZipFile.read

    def counted(archive, info, *given):
        opened.append(info.file_size)
        return read(archive, info, *given)

    monkeypatch.setattr(zipfile.ZipFile, "read", counted)
    for name in ("one", "two"):  # of one learner, together
        zip_of(tmp_path / f"{name}.zip", **{f"{k}.zip": inner for k in range(40)})
    _, said = remarks(tmp_path, blanks)
    large = [size for size in opened if size > 1_000] or opened
    assert 0 < len(large) <= most and sum(opened) <= 100_000
    assert "the zips in it have over 100,000 bytes" in said


def test_a_zip_in_a_zip_is_opened(tmp_path, blanks):
    zip_of(tmp_path / "a.zip", **{"b.zip": zipped(**{"01_architecture.ipynb": RIGHT})})
    assert remarks(tmp_path, blanks) == (True, "found as a.zip/b.zip/01_architecture.ipynb")


def test_a_zip_that_unpacks_to_too_much_is_named_and_not_unpacked(tmp_path, blanks, monkeypatch):
    monkeypatch.setattr("mnist_nb.tools.classroom.handed_in.LARGEST", 10_000)
    with zipfile.ZipFile(tmp_path / "01_architecture.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("01_architecture.ipynb", bytes(10**6))
    there, said = remarks(tmp_path, blanks)
    assert not there and "01_architecture.zip (it cannot be unpacked: it unpacks to more" in said


# --- what is in a notebook


def cells_of(notebook) -> list:
    return read_cells(nbformat.writes(notebook).encode())


def in_order(notebook, blanks, name: str = FIRST):
    notebook, said = repaired(cells_of(notebook), copy.deepcopy(blanks[name]))
    return {name_of(cell): cell for cell in notebook.cells}, said


def with_copy(source: str, before: bool = False, far: bool = False, keep_id: bool = False):
    """The original with a copy of the cell margin, which has the same grade id."""
    notebook = solved(ORIGINALS[FIRST])
    number = next(k for k, cell in enumerate(notebook.cells) if cell.id == "margin")
    new = copy.deepcopy(notebook.cells[number])
    new.source, new.id = source, new.id if keep_id else "copied"
    notebook.cells.insert(len(notebook.cells) if far else number + (not before), new)
    return notebook


@pytest.mark.parametrize("place", [{}, {"before": True}, {"far": True}])
@pytest.mark.parametrize(
    "source",
    ["def margin(scores):\n    first =", "def margin(scores):\n    return scores.max()", None,
     "def margin(scores:", "def margin(scores):\n"],
)  # fmt: skip
def test_of_a_copied_cell_the_one_in_the_originals_place_counts_and_the_remark_says_so(
    blanks, source, place
):
    stub = next(cell.source for cell in blanks[FIRST].cells if cell.id == "margin")
    original = next(cell.source for cell in ORIGINALS[FIRST].cells if cell.id == "margin")
    result, said = in_order(with_copy(source or stub, **place), blanks)
    assert result["margin"].source == original
    number = 2 if place.get("before") else 1
    assert said == [f'the cell "margin" is there 2 times; number {number} counts, the one in the '
                    "original's place"]  # fmt: skip
    (left,) = [cell for cell in result.values() if cell.cell_type == "raw"]
    assert left.source == (source or stub)


def test_a_solution_in_the_copy_counts_when_the_original_is_unsolved(blanks):
    notebook = with_copy("def margin(scores):\n    return 1")
    stub = next(cell.source for cell in blanks[FIRST].cells if cell.id == "margin")
    next(cell for cell in notebook.cells if cell.id == "margin").source = stub
    result, said = in_order(notebook, blanks)
    assert result["margin"].source == "def margin(scores):\n    return 1" and "number 2" in said[0]


def test_a_solution_split_into_a_helper_and_a_function_is_executed_whole(blanks):
    notebook = with_copy("def helper(scores):\n    return scores", before=True)
    result, said = in_order(notebook, blanks)
    order = list(result)
    assert said == [] and result[order[order.index("margin") - 1]].source.startswith("def helper")


def test_an_experiment_beside_the_solution_is_a_cell_of_its_own(blanks):
    result, said = in_order(with_copy("margin(1 / 0)"), blanks)
    order = list(result)
    assert said == [] and result[order[order.index("margin") + 1]].source == "margin(1 / 0)"


def test_a_notebook_that_lost_its_metadata_is_recognised_by_its_text(tmp_path, blanks):
    notebook = solved(ORIGINALS[FIRST])
    for cell in notebook.cells:
        cell.metadata, cell.id = nbformat.NotebookNode(), f"x{id(cell)}"
    path = hand_in(tmp_path, called="Copy of 01.ipynb", notebook=notebook)
    raw = json.loads(path.read_text())
    for cell in raw["cells"]:
        del cell["id"]  # as Colab writes it
    path.write_text(json.dumps(raw))
    there, said = remarks(tmp_path, blanks)
    tasks = ", ".join([*submissions.automatic(FIRST), "plot"])
    assert there and said == ("found as Copy of 01.ipynb; cells without nbgrader's metadata were "
                              f"recognised: {tasks}")  # fmt: skip
    found = matched([Source(tmp_path)], blanks)[FIRST]
    result = {name_of(c): c for c in repaired(found.cells, copy.deepcopy(blanks[FIRST]))[0].cells}
    for cell in ORIGINALS[FIRST].cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            assert result[cell.id].source == cell.source


def test_a_solution_in_a_new_cell_counts_when_the_original_was_deleted(tmp_path, blanks):
    notebook = solved(ORIGINALS[FIRST])
    number = next(k for k, cell in enumerate(notebook.cells) if cell.id == "margin")
    notebook.cells[number] = new_code_cell(notebook.cells[number].source)
    hand_in(tmp_path, notebook=notebook)
    found = matched([Source(tmp_path)], blanks)[FIRST]
    result, _ = repaired(found.cells, copy.deepcopy(blanks[FIRST]))
    (margin,) = [cell for cell in result.cells if cell.id == "margin"]
    assert margin.source == notebook.cells[number].source


def test_an_import_in_a_locked_cell_is_kept_in_a_new_cell_and_said(blanks):
    notebook = solved(ORIGINALS[FIRST])
    imports = next(cell for cell in notebook.cells if cell.id == "imports")
    right, imports.source = imports.source, f"{imports.source}\nimport math\nprint(1)"
    result, said = in_order(notebook, blanks)
    assert said == ['the locked cell "imports" was changed and is put back; of what it adds, only '
                    "import math was kept, in a new cell"]  # fmt: skip
    order = list(result)
    assert result["imports"].source == right
    assert result[order[order.index("imports") + 1]].source == "import math"


def test_a_learners_text_is_kept_where_it_stands(blanks):
    notebook = solved(ORIGINALS[FIRST])
    number = next(k for k, cell in enumerate(notebook.cells) if cell.id == "margin")
    notebook.cells.insert(number, new_markdown_cell("My thoughts"))
    notebook.cells[number - 1].source += "\nAnd an answer below the question"
    result, _ = in_order(notebook, blanks)
    texts = [cell.source for cell in result.values() if cell.metadata.get("mnist_nb")]
    assert len(texts) == 2 and texts[1] == "My thoughts" and "And an answer" in texts[0]


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\n\n "])
def test_a_byte_order_mark_is_read(start):
    assert read_cells(start + RIGHT) == read_cells(RIGHT)


def test_21_mb_of_outputs_are_read_and_left_out():
    notebook = json.loads(RIGHT)
    output = {"output_type": "stream", "name": "stdout", "text": "x" * 21_000_000}
    notebook["cells"][5]["outputs"] = [output]
    assert read_cells(json.dumps(notebook).encode()) == read_cells(RIGHT)
    with pytest.raises(NotebookError, match="JSON"):
        read_cells(b" " * 21_000_000)


def test_more_code_than_anyone_writes_is_not_read_and_pictures_in_a_text_are():
    cells = [{"cell_type": "code", "source": "x" * 190_000}] * 6
    with pytest.raises(NotebookError, match="its code has 1,140,000 characters"):
        read_cells(json.dumps({"cells": cells}).encode())
    cells = [{"cell_type": "markdown", "source": "x" * 1_140_000}]
    assert len(read_cells(json.dumps({"cells": cells}).encode())) == 1


def test_texts_are_read_up_to_a_sum_without_the_code(monkeypatch):
    monkeypatch.setattr(cells_module, "_TEXT", 1_000)
    texts = [{"cell_type": "markdown", "source": "x" * 500}] * 2
    code = [{"cell_type": "code", "source": "x" * 2_000}]
    assert len(read_cells(json.dumps({"cells": texts + code}).encode())) == 3
    with pytest.raises(NotebookError, match="its texts have 1,500 characters"):
        read_cells(json.dumps({"cells": texts + texts[:1]}).encode())


class Unsplit(str):
    """A text that nobody may split into lines, as a long one takes seconds."""

    def strip(self):
        return self

    def splitlines(self):
        raise AssertionError


@pytest.mark.parametrize(
    ("long", "other"),
    [("a" + "\n" * 9_000 + "a", "a\nb"), ("a" + "\n" * 9_000, "a"), ("a\n" * 900, "b\n" * 900)],
    ids=["longer", "space", "first line"],
)
def test_a_text_that_cannot_be_the_same_is_not_split_into_lines(long, other):
    assert not same(Unsplit(long), other) and not same(other, Unsplit(long))


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [("\n\n  a\nb", "a\nb\n\n", True), ("a   \nb", "a\nb", True), ("a\n\nb", "a\nb", False),
     ("x" * 150 + " " * 90 + "\nb", "x" * 150 + "\nb", True), ("a\r\nb", "a\nb ", True),
     ("x" * 199 + "\r\nb", "x" * 199 + "\nb", True), ("x" * 250, "x" * 249 + "y", False),
     ("x" * 250 + " ", "x" * 250, True), (" a", "a", True), ("a\n b", "a\nb", False),
     ("", " \n", True), ("a" + " " * 900, "a", True)],
)  # fmt: skip
def test_sources_are_the_same_except_for_space_at_the_ends_of_lines(a, b, equal):
    assert same(a, b) is equal and same(b, a) is equal


def test_the_parts_of_a_solution_are_joined_also_if_there_are_25(blanks):
    parts = ["def margin(scores):", "    a, b = scores.topk(2, dim=1).values.T\n    return a - b"]
    parts = [f"x{k} = {k}" for k in range(12)] + parts + [f"x{k} = {k}" for k in range(11)]
    cells = [Cell("code", part, "margin") for part in parts]
    result, _ = repaired(cells, copy.deepcopy(blanks[FIRST]))
    (margin,) = [cell for cell in result.cells if name_of(cell) == "margin"]
    assert len(parts) == 25 and margin.source == "\n".join(parts[12:14])


def test_parts_that_nothing_completes_are_joined_up_to_a_sum(monkeypatch):
    parsed, parses = [], repair.parses

    def counted(source):
        parsed.append(len(source))
        return parses(source)

    monkeypatch.setattr(repair, "parses", counted)
    monkeypatch.setattr(repair, "_TRIED", 2_000)
    cells = [Cell("code", "[" * 100, "margin")] * 30
    assert len(repair._joined(cells, [True] * 30)) == 30
    assert sum(parsed) <= 30 * 100 + 2_000


def test_a_notebook_of_version_3_is_read():
    old = {
        "nbformat": 3,
        "worksheets": [{"cells": [{"cell_type": "code", "input": ["a\n", "b"]}]}],
    }
    assert [cell.source for cell in read_cells(json.dumps(old).encode())] == ["a\nb"]
