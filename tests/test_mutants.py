"""The verification verified: a mistake is caught. `make mutants` tries the whole catalogue."""

import pytest
from conftest import PROJECT
from mutants import catalogue, caught_by, copy_project, mutated

QUICK, OTHERS = catalogue()


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("copy"))


@pytest.mark.parametrize("mutant", QUICK, ids=str)
def test_a_mistake_is_caught(mutant, copy):
    assert caught_by(mutant, copy)[0]


def test_every_mistake_of_the_catalogue_can_still_be_made():
    assert len(OTHERS) >= 100
    for mutant in OTHERS:
        text = (PROJECT / mutant.file).read_text(encoding="utf-8")
        assert mutated(mutant, text) != text
