"""Verify the notebooks under different conditions: `make portability`.

Runs nbval on each notebook with different instruction sets, thread counts, and versions of Python
and torch, and writes the table build/portability.md. Results are kept in
build/portability/results.csv until the notebook changes. Takes hours. pytest also loads this file
as a plugin (-p), which records the differences that the tolerances accept.
"""

import ast
import datetime
import hashlib
import importlib.metadata
import json
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
FACTS = {"python": "platform.python_version()", "threads": "torch.get_num_threads()",
         "capability": "torch.backends.cpu.get_cpu_capability()",
         **{name: f"str({name}.__version__)" for name in MODULES}}  # fmt: skip
# Columns of a row that list cells by execution count -> the verdict if any are listed.
KINDS = {"failed": "differs", "forgiven": "within tolerance", "pictures": "other pictures"}
FIELDS = ["configuration", "notebook", "sha256", "verdict", *KINDS, "loss_difference",
          "python", *MODULES, "capability", "threads"]  # fmt: skip
LEGEND = """
**identical**: every output is the stored one, byte for byte, pictures included. **other
pictures**: all text is the same, a picture's file is not. **within tolerance**: in cells tagged
`nbval-approx` a number differs by no more than it may. **differs**: the verification fails.
*Loss* is the largest difference between a loss in the walkthrough's record, at full precision,
and the stored one. *An old processor*: torch's plain code, MKL held to SSE4.2, oneDNN to SSE4.1.
"""


# As a plugin
found = {kind: [] for kind in KINDS} | {"loss_difference": ""}


def contents(outputs: list, pictures: bool) -> list:
    """Return the pictures of `outputs`, or else everything but the pictures, to compare."""
    words = ("output_type", "name", "text", "metadata")
    return [
        {
            m: d
            for m, d in output.get("data", {}).items()
            if m.startswith("image/") == pictures and m != WIDGET
        }
        | ({} if pictures else {word: output.get(word) for word in words})
        for output in outputs
    ]


def loss_difference(new: list[dict], stored: list[dict]) -> float:
    """Return the largest difference of a loss between two histories of the same length."""
    pairs = zip(new, stored, strict=True)
    return max(abs(a[k] - b[k]) for a, b in pairs for k in ("train_loss", "val_loss"))


@pytest.hookimpl(trylast=True)  # so that ours wraps the tolerant comparison
def pytest_itemcollected(item) -> None:
    """Record the differences in a cell's outputs before tolerances are applied."""
    tolerant_compare = item.compare_outputs

    def compare_outputs(new, stored, skip_compare=None) -> bool:
        for kind in ("forgiven", "pictures"):
            if contents(new, kind == "pictures") != contents(stored, kind == "pictures"):
                found[kind].append(item.cell.execution_count)
        histories = [o.data[MIME]["history"] for o in [*new, *stored] if MIME in o.get("data", {})]
        if histories:
            found["loss_difference"] = loss_difference(*histories)
        return tolerant_compare(new, stored, skip_compare)

    item.compare_outputs = compare_outputs


def pytest_runtest_makereport(item, call) -> None:
    """Record a cell that fails."""
    if call.excinfo:
        number = item.cell.execution_count
        found["failed"].append(number)
        found["forgiven"] = [n for n in found["forgiven"] if n != number]


@pytest.hookimpl(wrapper=True)  # once the kernel has started
def pytest_runtest_setup(item) -> Iterator[None]:
    """Set the kernel's number of threads before the first cell."""
    yield
    threads, kernel = os.environ.get("PORTABILITY_THREADS"), item.parent.kernel
    if threads and kernel is not None and item.cell_num == 0:
        kernel.kc.execute_interactive(STARTUP.format(threads))


@pytest.hookimpl(tryfirst=True)  # before the kernel is stopped
def pytest_runtest_teardown(item, nextitem) -> None:
    """After the last cell, ask the kernel for its versions, and write the report."""
    if nextitem is None:
        reply = item.parent.kernel.kc.execute_interactive(
            f"import platform, {', '.join(MODULES)}", user_expressions=FACTS
        )
        said = reply["content"]["user_expressions"]
        facts = {name: ast.literal_eval(said[name]["data"]["text/plain"]) for name in FACTS}
        Path(os.environ["PORTABILITY_REPORT"]).write_text(json.dumps(found | facts))


# As a study
class Configuration(NamedTuple):
    """How the verification runs; the defaults are those of `make nbval`."""

    name: str
    variables: dict[str, str] = {}  # noqa: RUF012
    threads: int = 0  # 0: as the notebooks set it
    python: str = ""  # interpreter for a separate environment
    packages: tuple[str, ...] = ()  # versions that differ from environment.yml
    missing: str = ""  # why it is not available here


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
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}: 00 without dropout: loss "
        f"{bare:.1g} from the CPU's; with it: {loss_difference(first, again):.1g} from one run to "
        f"the next, {loss_difference(first, read_record(WALKTHROUGH)['history']):.1g} from the "
        "stored ones"
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
    log, report = BUILD / f"{name}.log", BUILD / f"{name}.json"
    report.unlink(missing_ok=True)
    variables = os.environ | configuration.variables | {"PORTABILITY_REPORT": str(report)}
    if configuration.threads:
        # waiting threads sleep, so that they do not slow down the computing ones
        variables |= {"OMP_WAIT_POLICY": "passive"}
        variables |= {"PORTABILITY_THREADS": str(configuration.threads)}
    sha256 = digest(notebook)
    command = [python, "-m", "pytest", "-p", "studies.portability", "--color=no",
               "--nbval-cell-timeout=3600", str(notebook)]  # fmt: skip
    with log.open("w") as file:
        done = subprocess.run(command, cwd=PROJECT, env=variables, stdout=file, stderr=file)
    row = json.loads(report.read_text()) if report.exists() else {"failed": ["none ran"]}
    verdict = next((KINDS[kind] for kind in KINDS if row.get(kind)), "identical")
    if (verdict == "differs") == (done.returncode == 0):
        raise SystemExit(f"pytest's exit code and its report disagree; see {log}")
    row |= {kind: " ".join(map(str, row.get(kind, []))) for kind in KINDS}
    return row | {"configuration": configuration.name, "notebook": name_of(notebook),
                  "sha256": sha256, "verdict": verdict}  # fmt: skip


def results() -> dict[tuple[str, str], dict]:
    """Return (configuration, notebook) -> row, for the current version of each notebook."""
    if not RESULTS.exists():
        return {}
    current = {(name_of(path), digest(path)) for path in NOTEBOOKS}
    rows = pd.read_csv(RESULTS, dtype=str, keep_default_na=False).to_dict("records")
    return {(row["configuration"], row["notebook"]): row for row in rows
            if (row["notebook"], row["sha256"]) in current}  # fmt: skip


def table(every: list[Configuration]) -> str:
    """Return the results as a Markdown page."""
    rows, names = results(), [name_of(path) for path in NOTEBOOKS]
    info = Path("/proc/cpuinfo")
    model = re.search("model name.*: (.*)", info.read_text()) if info.exists() else None
    versions = [f"{n} {importlib.metadata.version(n)}" for n in (*MODULES, "matplotlib", "nbval")]
    lines = [
        "# The same numbers elsewhere", "",
        f"`make portability`, {datetime.date.today()}, {platform.system()}, "
        f"{model[1] if model else platform.processor()}. The base has Python "
        f"{platform.python_version()}, {', '.join(versions)}.", LEGEND,
        f"| configuration | {' | '.join(map(short, names))} | loss |",
        "| --- " * (len(names) + 2) + "|",
    ]  # fmt: skip
    notes = []
    for name, *_, missing in every:
        mine = {n: rows[name, n] for n in names if (name, n) in rows}
        verdicts = [mine[n]["verdict"] if n in mine else "" for n in names]
        loss = mine.get(WALKTHROUGH.stem, {}).get("loss_difference")
        said = [*verdicts, f"{float(loss):.1g}" if loss else ""]
        lines.append(f"| {name} | {missing or ' | '.join(said)} |")
        notes += [f"- {name}, {n}: {KINDS[kind]}: In [{mine[n][kind].replace(' ', '], [')}]"
                  for n in mine for kind in ("failed", "forgiven") if mine[n][kind]]  # fmt: skip
    digests = [f"`{digest(path)}`" for path in NOTEBOOKS]
    lines += [f"| *notebook's SHA-256* | {' | '.join(digests)} | |", "", *notes]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Run the verifications without a stored result, and write the table."""
    BUILD.mkdir(parents=True, exist_ok=True)
    every = list(configurations())
    for place, configuration in enumerate(every):
        name = configuration.name
        work = [path for path in NOTEBOOKS if (name, name_of(path)) not in results()]
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
