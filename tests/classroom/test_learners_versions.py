"""notebooks/exercises: for each original of notebooks/solutions, the version that learners get."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from aside import needs_nbgrader
from conftest import PROJECT

from mnist_nb.tools.classroom.student import StudentError, learners_exercises, write_exercises

FOLDER = PROJECT / "notebooks" / "exercises"
SOLUTIONS = PROJECT / "notebooks" / "solutions"
NAMES = sorted(path.name for path in SOLUTIONS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return learners_exercises(PROJECT)


def test_each_original_has_one_learners_version_and_no_version_is_without_an_original():
    assert len(NAMES) == 10 and sorted(path.name for path in FOLDER.iterdir()) == NAMES


@needs_nbgrader
@pytest.mark.parametrize("name", NAMES)
def test_a_committed_learners_version_is_exactly_what_its_original_gives(made, name):
    assert (FOLDER / name).read_bytes() == made[name], "make exercises renews it"


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_learners_version_has_no_solution_no_hidden_test_and_no_output(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(r"(BEGIN|END) (SOLUTION|HIDDEN)", text)
    notebook = nbformat.reads(text, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell.id for cell in code if cell.outputs or cell.execution_count]


@pytest.mark.parametrize("path", sorted((PROJECT / "notebooks").glob("*.ipynb")), ids=str)
def test_no_chapter_leads_to_solutions(path):
    assert "solutions/" not in path.read_text(encoding="utf-8")


@needs_nbgrader
def test_the_command_writes_what_has_changed_and_leaves_the_rest_alone(tmp_path):
    folder = tmp_path / "notebooks" / "solutions"
    folder.mkdir(parents=True)
    for name in NAMES[:2]:
        shutil.copy(SOLUTIONS / name, folder)
    written = [tmp_path / "notebooks" / "exercises" / name for name in NAMES[:2]]
    assert write_exercises(tmp_path) == dict.fromkeys(written, True)
    assert [path.read_bytes() for path in written] == [
        (FOLDER / name).read_bytes() for name in NAMES[:2]
    ]
    written[0].write_text("tried")
    assert write_exercises(tmp_path) == {written[0]: True, written[1]: False}
    assert write_exercises(tmp_path) == dict.fromkeys(written, False)


def test_a_folder_without_originals_such_as_the_learners_own_is_one_sentence(tmp_path: Path):
    with pytest.raises(StudentError, match=r"there are no exercises in .*solutions"):
        write_exercises(tmp_path)
    assert not list(tmp_path.iterdir())
