"""Verify the notebooks under different conditions: `make portability`.

Runs nbval with different instruction sets, thread counts, and versions of Python and torch, and
writes the table build/portability.md. Takes hours; ARGS="base notebooks/04_data.ipynb" tries only
the configurations with the first word in their names, and only these notebooks. pytest's JUnit
reports and logs are kept in build/portability; a report is used again until one of its
notebooks changes. pytest also loads this file as a plugin (-p), which adds to a report the
differences that the tolerances accept.
"""

import datetime
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pandas as pd
import pytest
import torch
from packaging.requirements import Requirement

from mnist_nb.record import MIME
from mnist_nb.tools.project import NOTEBOOKS, PROJECT, SOLUTIONS, WALKTHROUGH
from mnist_nb.tools.runs.results import read_record
from mnist_nb.tools.runs.run import run
from mnist_nb.tools.verify.normal_form import WIDGET

BUILD = PROJECT / "build" / "portability"
VENV = "build/portability/environment"
TABLE = PROJECT / "build" / "portability.md"
# The notebooks set one thread; this runs first, and makes that call have no effect.
STARTUP = "import torch\ntorch.set_num_threads({})\ntorch.set_num_threads = lambda _: None\n"
VERDICTS = "identical", "different pictures", "within tolerance", "differs"  # from good to bad


# As a plugin
def pytest_report_header() -> list[str]:
    """Say in the log what pytest's process, and so the kernels, compute with."""
    return [torch.__config__.show(), torch.__config__.parallel_info()]


def contents(outputs: list[dict], pictures: bool) -> list[dict]:
    """Return only the pictures of a cell's outputs, or all but the pictures."""
    left_out = "data", "execution_count", WIDGET
    return [
        {key: part for key, part in (output | output.get("data", {})).items()
         if key.startswith("image/") == pictures and key not in left_out}
        for output in outputs
    ]  # fmt: skip


def loss_difference(new: list[dict], stored: list[dict]) -> float:
    """Return the largest difference of a loss between two histories of the same length."""
    pairs = zip(new, stored, strict=True)
    return max(abs(a[k] - b[k]) for a, b in pairs for k in ("train_loss", "val_loss"))


@pytest.hookimpl(trylast=True)  # so that ours wraps the tolerant comparison
def pytest_itemcollected(item) -> None:
    """Record the differences in a cell's outputs before tolerances are applied."""
    tolerant, note = item.compare_outputs, item.user_properties.append
    note(("cell", item.cell.execution_count))

    def compare_outputs(new, stored, skip_compare=None) -> bool:
        if contents(new, pictures=False) != contents(stored, pictures=False):
            note(("verdict", "within tolerance"))
        elif contents(new, pictures=True) != contents(stored, pictures=True):
            note(("verdict", "different pictures"))
        histories = [o.data[MIME]["history"] for o in [*new, *stored] if MIME in o.get("data", {})]
        if histories:
            note(("loss", loss_difference(*histories)))
        return tolerant(new, stored, skip_compare)

    item.compare_outputs = compare_outputs


@pytest.hookimpl(wrapper=True)  # once the kernel has started
def pytest_runtest_setup(item) -> Iterator[None]:
    """Set the kernel's number of threads before the first cell."""
    yield
    threads, kernel = os.environ.get("PORTABILITY_THREADS"), item.parent.kernel
    if threads and kernel is not None and item.cell_num == 0:
        kernel.kc.execute_interactive(STARTUP.format(threads))


# As a study
class Configuration(NamedTuple):
    """How the verification runs; the defaults are those of `make nbval`."""

    name: str
    variables: dict[str, str] = {}  # noqa: RUF012
    python: str | Path = ""  # interpreter for a separate environment
    packages: tuple[str, ...] = ()  # versions that differ from environment.yml
    at_once: int = 2  # notebooks


def interpreters() -> list[Path]:
    """Return one Python of each version from 3.11 on this machine, oldest first."""
    folders = [*os.environ["PATH"].split(os.pathsep), *Path.home().glob(".pyenv/versions/*/bin")]
    found = {p.name: p for folder in folders for p in Path(folder).glob("python3.1[1-9]")}
    return [found[name] for name in sorted(found)]


def admitted(name: str) -> list[str]:
    """Return the versions of a package on the index that pyproject.toml admits, newest first."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    loose = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}[name]
    command = [sys.executable, "-m", "pip", "index", "versions", name]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    listed = re.search(r"^Available versions: (.*)", text, re.MULTILINE)[1].split(", ")
    return [version for version in listed if loose.contains(version) and "+" not in version]


def configurations() -> Iterator[Configuration]:
    """Yield all configurations that this machine can have, cheapest first."""
    yield Configuration("base")
    best = torch.backends.cpu.get_cpu_capability().lower()
    for level in ("default", "avx2", "avx512"):
        if level in ("default", best) or best == "avx512":
            yield Configuration(f"ATEN_CPU_CAPABILITY={level}", {"ATEN_CPU_CAPABILITY": level})
    yield Configuration("MKL_CBWR=COMPATIBLE", {"MKL_CBWR": "COMPATIBLE"})
    yield Configuration("1 thread", {"PORTABILITY_THREADS": "1"})
    old = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
           "ONEDNN_MAX_CPU_ISA": "SSE41"}  # fmt: skip
    yield Configuration("an old processor", old)
    pythons = interpreters()
    for path in (pythons[0], pythons[-1]):
        yield Configuration(path.name.replace("python", "Python "), python=path)
    for end in (-1, 0):
        pair = [(name, admitted(name)[end]) for name in ("torch", "torchvision")]
        yield Configuration(", ".join(map(" ".join, pair)), python=sys.executable,
                            packages=tuple(map("===".join, pair)))  # fmt: skip
    for threads in ("2", "4"):  # passive: a waiting thread sleeps, so it slows down no others
        many = {"PORTABILITY_THREADS": threads, "OMP_WAIT_POLICY": "passive"}
        yield Configuration(f"{threads} threads", many, at_once=1)


def cuda() -> str:
    """Describe how the walkthrough's losses on a CUDA device differ from those on the CPU."""
    if not torch.cuda.is_available():
        return "no CUDA device"

    def losses(**given: str) -> list[dict]:
        return read_record(run(WALKTHROUGH, given, BUILD, quiet=True))["history"]

    first, again = (losses(device="cuda") for _ in range(2))
    bare = loss_difference(losses(device="cuda", dropout="0"), losses(device="cpu", dropout="0"))
    return (
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}: without dropout, the losses "
        f"of chapter 00 differ by {bare:.1g} from the CPU's; with dropout, by "
        f"{loss_difference(first, again):.1g} between two runs, and by "
        f"{loss_difference(first, read_record(WALKTHROUGH)['history']):.1g} from the stored ones"
    )


def environment(configuration: Configuration) -> str:
    """Return the Python of a configuration, after creating its environment."""
    if not configuration.python:
        return sys.executable
    python = str(PROJECT / VENV / "bin" / "python")
    shutil.rmtree(PROJECT / VENV, ignore_errors=True)
    make = ["make", "setup", f"VENV={VENV}", f"PYTHON={configuration.python}"]
    subprocess.run(make, cwd=PROJECT, check=True)
    if configuration.packages:
        install = [python, "-m", "pip", "install", "--quiet", *configuration.packages]
        subprocess.run(install, check=True)
    return python


def digest(*notebooks: Path) -> str:
    """Return the first eight digits of the SHA-256 of these files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in notebooks)).hexdigest()[:8]


def verify(configuration: Configuration, notebooks: list[Path]) -> Path:
    """Run nbval unless there is a report on these notebooks already; return the report's path."""
    name = re.sub("[^a-zA-Z0-9.]+", "_", configuration.name)
    report = BUILD / f"{name}-{digest(*notebooks)}.xml"
    if report.exists():
        return report
    part = report.with_suffix(".part")
    command = [environment(configuration), "-m", "pytest", "-p", "studies.portability",
               f"-n{configuration.at_once}", "--dist=loadfile", "--color=no",
               "--nbval-cell-timeout=3600", f"--junitxml={part}", *notebooks]  # fmt: skip
    with report.with_suffix(".log").open("w") as log:
        done = subprocess.run(command, cwd=PROJECT, env=os.environ | configuration.variables,
                              stdout=log, stderr=log)  # fmt: skip
    if done.returncode > 1:  # interrupted, a fault in pytest, or no test ran
        raise subprocess.CalledProcessError(done.returncode, command)
    return part.rename(report)


def cells(report: Path) -> Iterator[dict[str, str]]:
    """Yield what a report says of each cell: its number, its verdict, the difference of a loss."""
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("classname").removeprefix("notebooks.").removesuffix(".ipynb")
        row = {"notebook": name.replace(".", "/"), "cell": "?", "verdict": "identical"}
        row |= {one.get("name"): one.get("value") for one in case.iter("property")}
        failed = {"failure", "error"} & {part.tag for part in case}
        yield row | ({"verdict": "differs"} if failed else {})


def table(rows: list[dict[str, str]], names: list[str]) -> str:
    """Return in Markdown what the reports say of the configurations with these names."""
    every = pd.DataFrame(rows, columns=["configuration", "notebook", "cell", "verdict", "loss"])
    every["verdict"] = pd.Categorical(every["verdict"], VERDICTS, ordered=True)
    worst = every.groupby(["configuration", "notebook"])["verdict"].max().astype(str).unstack()
    worst = worst.reindex(names).fillna("no report")
    digests = [f"`{digest(NOTEBOOKS / f'{name}.ipynb')}`" for name in worst]
    worst.loc["*notebook's SHA-256*"] = digests
    losses = every["loss"].astype(float).groupby(every["configuration"]).max().dropna()
    worst["loss"] = losses.map("{:.1g}".format).astype(str).reindex(worst.index, fill_value="")
    heads = [name.replace("solutions/", "ex. ").partition("_")[0] for name in worst]
    table = [["configuration", *heads], ["---"] * (1 + len(heads)), *worst.itertuples(name=None)]
    changed = every[every["verdict"] >= "within tolerance"]
    places = changed.groupby(["configuration", "notebook", "verdict"], sort=False, observed=True)
    info = Path("/proc/cpuinfo")
    model = re.search("model name.*: (.*)", info.read_text()) if info.exists() else None
    packages = "torch", "torchvision", "numpy", "matplotlib", "nbval"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return "\n".join([
        "# The same numbers elsewhere", "",
        f"`make portability`, {datetime.date.today()}, {platform.system()}, "
        f"{model[1] if model else platform.processor()}. The base has Python "
        f"{platform.python_version()}, {versions}.", "",
        *(f"| {' | '.join(row)} |" for row in table), "",
        *(f"- {name}, {notebook}: {verdict}: In [{'], ['.join(numbers)}]"
          for (name, notebook, verdict), numbers in places["cell"]), "",
    ])  # fmt: skip


def main(word: str = "", *notebooks: str) -> None:
    """Verify `notebooks`, or all, in the configurations with `word`, and write the table."""
    every = [*sorted(NOTEBOOKS.glob("*.ipynb")), *sorted(SOLUTIONS.glob("*.ipynb"))]
    paths = [Path(path).resolve() for path in notebooks] or every
    BUILD.mkdir(parents=True, exist_ok=True)
    names, rows = [], []
    for configuration in configurations():
        if word not in configuration.name:
            continue
        names.append(configuration.name)
        print(configuration.name, flush=True)
        try:
            found = sorted(cells(verify(configuration, paths)), key=lambda cell: cell["notebook"])
            rows += [{"configuration": configuration.name} | cell for cell in found]
        except subprocess.CalledProcessError as error:
            print(f"{error} See the lines above, or the log in {BUILD}.", flush=True)
    said = f"- CUDA: {cuda()}\n" if word in "CUDA" else ""
    TABLE.write_text(table(rows, names) + said)
    print(f"written: {TABLE}")


if __name__ == "__main__":
    main(*sys.argv[1:])
