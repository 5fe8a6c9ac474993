"""Verify the notebooks under different conditions: `make portability`.

Runs nbval on each notebook with different instruction sets, thread counts, and versions of Python
and torch, and writes the table build/portability.md. Results are kept in
build/portability/results.csv until the notebook changes. Takes hours. pytest also loads this file
as a plugin (-p), which records the differences that the tolerances accept, as properties of the
tests in pytest's JUnit report.
"""

import ast
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
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from mnist_nb.record import MIME
from mnist_nb.tools.project import PROJECT, WALKTHROUGH
from mnist_nb.tools.runs.results import read_record
from mnist_nb.tools.runs.run import run
from mnist_nb.tools.verify.normal_form import WIDGET

BUILD = PROJECT / "build" / "portability"
VENV = "build/portability/environment"
RESULTS = BUILD / "results.csv"
TABLE = PROJECT / "build" / "portability.md"
FOLDER = PROJECT / "notebooks"
NOTEBOOKS = [*sorted(FOLDER.glob("*.ipynb")), *sorted(FOLDER.glob("exercises/*.ipynb"))]
# The notebooks set one thread; this runs first, and makes that call have no effect.
STARTUP = "import torch\ntorch.set_num_threads({})\ntorch.set_num_threads = lambda _: None\n"
MODULES = "torch", "torchvision", "numpy"
FACTS = """{"python": platform.python_version(), "threads": torch.get_num_threads(),
"capability": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__,
"torchvision": torchvision.__version__, "numpy": numpy.__version__}"""
# Columns of a row that list cells by execution count -> the verdict if any are listed.
KINDS = {"failed": "differs", "forgiven": "within tolerance", "pictures": "different pictures"}
FIELDS = ["configuration", "notebook", "sha256", "verdict", *KINDS, "loss_difference",
          "python", *MODULES, "capability", "threads"]  # fmt: skip


# As a plugin
def contents(outputs: list, pictures: bool) -> list:
    """Return the pictures of `outputs`, or else everything but the pictures, to compare."""
    words = () if pictures else ("output_type", "name", "text", "metadata")
    return [
        {word: output.get(word) for word in words}
        | {
            kind: data
            for kind, data in output.get("data", {}).items()
            if kind.startswith("image/") == pictures and kind != WIDGET
        }
        for output in outputs
    ]


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
        for kind in ("forgiven", "pictures"):
            if contents(new, kind == "pictures") != contents(stored, kind == "pictures"):
                note((kind, "yes"))
        histories = [o.data[MIME]["history"] for o in [*new, *stored] if MIME in o.get("data", {})]
        if histories:
            note(("loss_difference", loss_difference(*histories)))
        return tolerant(new, stored, skip_compare)

    item.compare_outputs = compare_outputs


@pytest.hookimpl(wrapper=True)  # once the kernel has started
def pytest_runtest_setup(item) -> Iterator[None]:
    """Set the kernel's number of threads before the first cell."""
    yield
    threads, kernel = os.environ.get("PORTABILITY_THREADS"), item.parent.kernel
    if threads and kernel is not None and item.cell_num == 0:
        kernel.kc.execute_interactive(STARTUP.format(threads))


@pytest.hookimpl(tryfirst=True)  # before the kernel is stopped
def pytest_runtest_teardown(item, nextitem) -> None:
    """After the last cell, ask the kernel for its versions."""
    if nextitem is None:
        reply = item.parent.kernel.kc.execute_interactive(
            f"import platform, {', '.join(MODULES)}", user_expressions={"facts": FACTS}
        )
        facts = reply["content"]["user_expressions"]["facts"]["data"]["text/plain"]
        item.user_properties += ast.literal_eval(facts).items()


# As a study
class Configuration(NamedTuple):
    """How the verification runs; the defaults are those of `make nbval`."""

    name: str
    variables: dict[str, str] = {}  # noqa: RUF012
    threads: int = 0  # 0: as the notebooks set it
    python: str = ""  # interpreter for a separate environment
    packages: tuple[str, ...] = ()  # versions that differ from environment.yml
    missing: str = ""  # text for the table instead of results, such as why it is unavailable


def interpreters() -> list[tuple[list[int], str]]:
    """Return (version, path) of this machine's Pythons from 3.11 that have ensurepip."""
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += (Path.home() / ".pyenv" / "versions").glob("*/bin")
    versions = []
    for path in {p for folder in folders for p in folder.glob("python3.[1-9][0-9]")}:
        ask = [path, "-c", "import ensurepip, sys; print(*sys.version_info[:3])"]
        done = subprocess.run(ask, capture_output=True, text=True)
        versions += [([int(n) for n in done.stdout.split()], str(path))] * (not done.returncode)
    return sorted(v for v in versions if v[0] >= [3, 11])


def admitted(name: str) -> list[str]:
    """Return the versions of a package on the index that pyproject.toml admits, in order."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    loose = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}[name]
    command = [sys.executable, "-m", "pip", "index", "versions", name]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    listed = re.search(r"^Available versions: (.*)", text, re.MULTILINE)[1].split(", ")
    return sorted((v for v in listed if loose.contains(v) and "+" not in v), key=Version)


def configurations() -> Iterator[Configuration]:
    """Yield all configurations, cheapest first."""
    import torch

    yield Configuration("base")
    best = torch.backends.cpu.get_cpu_capability().lower()
    for level in ("default", "avx2", "avx512"):
        missing = "" if level in ("default", best) or best == "avx512" else "not this processor"
        variables = {"ATEN_CPU_CAPABILITY": level}
        yield Configuration(f"ATEN_CPU_CAPABILITY={level}", variables, missing=missing)
    yield Configuration("MKL_CBWR=COMPATIBLE", {"MKL_CBWR": "COMPATIBLE"})
    yield Configuration("1 thread", threads=1)
    old = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
           "ONEDNN_MAX_CPU_ISA": "SSE41"}  # fmt: skip
    yield Configuration("an old processor", old)
    pythons = interpreters()
    for version, path in (pythons[0], pythons[-1]):
        yield Configuration(f"Python {'.'.join(map(str, version))}", python=path)
    for end in (0, -1):
        pair = [(name, admitted(name)[end]) for name in ("torch", "torchvision")]
        yield Configuration(", ".join(map(" ".join, pair)), python=sys.executable,
                            packages=tuple(map("===".join, pair)))  # fmt: skip
    for threads in (2, 4):
        yield Configuration(f"{threads} threads", threads=threads)
    yield Configuration("CUDA", missing=cuda())


def cuda() -> str:
    """Describe how the walkthrough's losses on a CUDA device differ from those on the CPU."""
    import torch

    if not torch.cuda.is_available():
        return "no CUDA device"

    def losses(**given: str) -> list[dict]:
        return read_record(run(WALKTHROUGH, given, BUILD, quiet=True))["history"]

    first, again = (losses(device="cuda") for _ in range(2))
    bare = loss_difference(losses(device="cuda", dropout="0"), losses(device="cpu", dropout="0"))
    return (
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}: without dropout, the losses "
        f"of 00 differ by {bare:.1g} from the CPU's; with dropout, by "
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


def name_of(notebook: Path) -> str:
    """Return a name like `05_training_loop` or `exercises/05_training_loop`."""
    return notebook.relative_to(FOLDER).with_suffix("").as_posix()


def short(name: str) -> str:
    """Return the heading of a notebook's column: `05`, or `ex. 05`."""
    return "ex. " * name.startswith("exercises/") + name.rpartition("/")[2][:2]


def digest(notebook: Path) -> str:
    """Return the first eight digits of the SHA-256 of a notebook's file."""
    return hashlib.sha256(notebook.read_bytes()).hexdigest()[:8]


def verify(configuration: Configuration, python: str, notebook: Path) -> dict:
    """Run nbval on a notebook; return a row of the results."""
    name = re.sub(r"[^a-zA-Z0-9.]+", "_", f"{configuration.name}-{name_of(notebook)}")
    log, report = BUILD / f"{name}.log", BUILD / f"{name}.xml"
    report.unlink(missing_ok=True)
    variables = os.environ | configuration.variables
    if configuration.threads:
        # waiting threads sleep, so that they do not slow down the computing ones
        variables |= {"OMP_WAIT_POLICY": "passive"}
        variables |= {"PORTABILITY_THREADS": str(configuration.threads)}
    row = {"configuration": configuration.name, "notebook": name_of(notebook),
           "sha256": digest(notebook)}  # fmt: skip
    command = [python, "-m", "pytest", "-p", "studies.portability", "--color=no",
               "--nbval-cell-timeout=3600", f"--junitxml={report}", str(notebook)]  # fmt: skip
    with log.open("w") as file:
        done = subprocess.run(command, cwd=PROJECT, env=variables, stdout=file, stderr=file)
    cells = {kind: [] for kind in KINDS}
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
        noted = {one.get("name"): one.get("value") for one in case.iter("property")}
        if case.find("failure") is not None or case.find("error") is not None:
            noted = noted | {"failed": "yes", "forgiven": ""}
        for kind in KINDS:
            cells[kind] += [noted.get("cell", "?")] * bool(noted.get(kind))
        row |= {field: noted[field] for field in FIELDS if field in noted and field not in KINDS}
    if done.returncode and not cells["failed"]:
        cells["failed"] = ["none ran"]
    row["verdict"] = next((KINDS[kind] for kind in KINDS if cells[kind]), "identical")
    return row | {kind: " ".join(numbers) for kind, numbers in cells.items()}


def results() -> pd.DataFrame:
    """Return the rows about the notebooks as they are now."""
    rows = pd.DataFrame(columns=FIELDS)
    if RESULTS.exists():
        rows = pd.read_csv(RESULTS, dtype=str, keep_default_na=False)
    current = {name_of(path): digest(path) for path in NOTEBOOKS}
    return rows[rows["sha256"] == rows["notebook"].map(current)]


def table(every: list[Configuration]) -> str:
    """Return the results as Markdown."""
    rows, names = results(), [name_of(path) for path in NOTEBOOKS]
    info = Path("/proc/cpuinfo")
    model = re.search("model name.*: (.*)", info.read_text()) if info.exists() else None
    versions = [f"{n} {importlib.metadata.version(n)}" for n in (*MODULES, "matplotlib", "nbval")]
    lines = [
        "# The same numbers elsewhere", "",
        f"`make portability`, {datetime.date.today()}, {platform.system()}, "
        f"{model[1] if model else platform.processor()}. The base has Python "
        f"{platform.python_version()}, {', '.join(versions)}.", "",
        f"| configuration | {' | '.join(map(short, names))} | loss |",
        "| --- " * (len(names) + 2) + "|",
    ]  # fmt: skip
    notes = []
    for name, *_, missing in every:
        mine = rows[rows["configuration"] == name].set_index("notebook")
        mine = mine.reindex(names, fill_value="")
        loss = mine["loss_difference"][WALKTHROUGH.stem]
        said = [*mine["verdict"], f"{float(loss):.1g}" if loss else ""]
        lines.append(f"| {name} | {missing or ' | '.join(said)} |")
        for kind in ("failed", "forgiven"):
            for notebook, numbers in mine[kind][mine[kind] != ""].items():
                told = f"{KINDS[kind]}: In [{numbers.replace(' ', '], [')}]"
                notes.append(f"- {name}, {notebook}: {told}")
    digests = [f"`{digest(path)}`" for path in NOTEBOOKS]
    lines += [f"| *notebook's SHA-256* | {' | '.join(digests)} | |", "", *notes]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Run the verifications that have no stored result yet, and write the table."""
    BUILD.mkdir(parents=True, exist_ok=True)
    every = list(configurations())
    for place, configuration in enumerate(every):
        name = configuration.name
        known = results().query("configuration == @name")["notebook"].tolist()
        work = [path for path in NOTEBOOKS if name_of(path) not in known]
        if configuration.missing or not work:
            print(f"{name}: {configuration.missing or 'done before'}", flush=True)
            continue
        try:
            python = environment(configuration)
        except subprocess.CalledProcessError:
            every[place] = configuration._replace(missing="creating the environment failed")
            continue
        with ThreadPoolExecutor(1 if configuration.threads > 1 else 2) as pool:
            futures = [pool.submit(verify, configuration, python, path) for path in work]
            for row in (future.result() for future in as_completed(futures)):
                frame = pd.DataFrame([row], columns=FIELDS)
                frame.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)
                print(f"{name}, {row['notebook']}: {row['verdict']}", flush=True)
        shutil.rmtree(PROJECT / VENV, ignore_errors=True)
    TABLE.write_text(table(every))
    print(f"written: {TABLE}")


if __name__ == "__main__":
    main()
