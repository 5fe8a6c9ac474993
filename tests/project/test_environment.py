"""One list of exact versions, and the loose ones that it comes from."""

import subprocess
import sys
import tomllib

import pytest
import yaml
from conftest import PROJECT
from packaging.requirements import Requirement

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
ENVIRONMENT = yaml.safe_load((PROJECT / "environment.yml").read_text())
(PIP,) = [d["pip"] for d in ENVIRONMENT["dependencies"] if isinstance(d, dict)]
PINS = [Requirement(line) for line in PIP]


def test_conda_brings_python_and_pip_and_nothing_else():
    names = [d for d in ENVIRONMENT["dependencies"] if isinstance(d, str)]
    assert [name.split("=")[0] for name in names] == ["python", "pip"]


def test_everything_else_is_pinned_exactly_but_what_torch_brings_for_its_gpu():
    for pin in PINS:
        assert [s.operator for s in pin.specifier] == ["=="], pin
        assert not pin.name.startswith(("nvidia", "cuda", "triton")), pin


def test_every_loose_requirement_has_a_pin_that_satisfies_it():
    exact = {pin.name: next(iter(pin.specifier)).version for pin in PINS}
    dev = PYPROJECT["project"]["optional-dependencies"]["dev"]
    for line in [*PYPROJECT["project"]["dependencies"], *dev]:
        loose = Requirement(line)
        name = loose.name.replace("_", "-")
        assert loose.specifier.contains(exact[name]), f"{line}: `make lock` renews the pins"


def test_every_dependency_has_its_reason_beside_it():
    text = (PROJECT / "pyproject.toml").read_text()
    listed = text[text.index("dependencies = [") : text.index("[project.scripts]")].splitlines()
    requirements = [line for line in listed if line.startswith('    "')]
    assert len(requirements) >= 20
    for line in requirements:
        assert line.partition("#")[2].strip(), line


@pytest.mark.parametrize("module", ["runs.sweep", "verify.comparison"])
def test_reading_notebooks_costs_no_grammar_of_addresses(module):
    lines = f"""
import mnist_nb.tools.{module}, sys
print('nbformat' in sys.modules, 'lark' in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.stdout == "True False\n", done.stderr
