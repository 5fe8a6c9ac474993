"""Make each mistake of mutants.yaml in a copy of the project, and see if its check fails.

`make mutants` makes them all and writes the table in docs/verification.md;
`make mutants ARGS=WORD` makes those with WORD in their line, and writes nothing.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml
from tqdm import tqdm

from mnist_nb.data import data_folder

PROJECT = Path(__file__).parents[2]
CATALOGUE = Path(__file__).with_name("mutants.yaml")
PAGE = PROJECT / "docs" / "verification.md"
MARKS = r"(?s)(?<=<!-- mistakes: `make mutants` writes this -->\n).*(?=<!-- end of mistakes -->)"
ASIDE = {".git", ".venv", "build", "runs", "mutants"}  # left out of the copy, at its top alone
SECONDS = 900  # for one check


class Mistake(NamedTuple):
    """One mistake of the catalogue; mutants.yaml says what each field means."""

    file: str
    name: str
    check: str
    old: str
    new: str | None
    part: str = "source"

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


def catalogue() -> list[Mistake]:
    """Return all mistakes of mutants.yaml, in its order."""
    files = yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))
    return [Mistake(f, name, *rest) for f, named in files.items() for name, rest in named.items()]


def with_mistake(mistake: Mistake, project: Path) -> str:
    """Return the file's text with the mistake made, once.

    Raises:
        ValueError: the text that the mistake changes is gone from the file.
    """
    path, old, new = project / mistake.file, mistake.old, mistake.new
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb" and old in text:
        return text.replace(old, new, 1)
    notebook = json.loads(text) if path.suffix == ".ipynb" else {"cells": []}
    kind, key = ("markdown", "source") if mistake.part == "words" else ("code", mistake.part)
    old, new = (part and json.dumps(part, ensure_ascii=False)[1:-1] for part in (old, new))
    for cell in notebook["cells"]:
        stored = json.dumps(cell.get(key), ensure_ascii=False)
        if cell["cell_type"] == kind and old in stored:
            cell[key] = [] if new is None else json.loads(stored.replace(old, new, 1))
            return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
    raise ValueError(f"{mistake}: {mistake.old!r} is gone; change its line in {CATALOGUE.name}")


def command(mistake: Mistake) -> tuple[str, ...]:
    """Return the command of the check that has to catch the mistake."""
    name, *options = shlex.split(mistake.check)
    if name == "ruff":
        words = ["ruff", "check", "--quiet", mistake.file]
    elif name == "lint":
        words = ["mnist_nb.tools.cli", "lint", mistake.file]
    elif name == "nbval":
        words = ["pytest", "-q", "-x", *(options or [mistake.file])]
    else:
        (path,) = PROJECT.glob(f"tests/*/test_{name}.py")
        words = ["pytest", "-q", "-x", str(path.relative_to(PROJECT)), *options]
    return sys.executable, "-m", *words


def fault(command: tuple[str, ...], mistake: Mistake | None = None) -> str:
    """Return the last words of `command` if it fails in a copy of the project; "" if it passes.

    One that is killed from outside counts as passed: nothing is caught by that.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as copy:
        shutil.copytree(
            PROJECT, copy, dirs_exist_ok=True,
            ignore=lambda where, _: ASIDE if where == str(PROJECT) else {"__pycache__"},
        )  # fmt: skip
        if mistake:
            Path(copy, mistake.file).write_text(with_mistake(mistake, PROJECT), encoding="utf-8")
        path = f"{copy}{os.pathsep}{PROJECT / 'build' / 'nbgrader'}"  # the copy has no build/
        own = {"PYTHONPATH": path, "MNIST_NB_DATA": str(data_folder())}
        try:
            done = subprocess.run(
                command, cwd=copy, env=os.environ | own, capture_output=True, text=True,
                timeout=SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"not done after {SECONDS} seconds"
    return "" if done.returncode <= 0 else (done.stdout + done.stderr)[-500:] or "no words"


def control(command: tuple[str, ...]) -> None:
    """Check that `command` passes without any mistake; else it can't catch one.

    Raises:
        SystemExit: it fails.
    """
    if found := fault(command):
        check = shlex.join(command[2:])
        sys.exit(f"Make this pass first, it fails without any mistake: {check}\n{found}")


def table(faults: dict[Mistake, str]) -> str:
    """Return in Markdown what caught how many mistakes of each folder, and the survivors."""
    kinds = {"ruff": "lint", "lint": "lint", "nbval": "nbval"}
    caught_by = [
        kinds.get(mistake.check.split()[0], "unit tests") if found else "nothing"
        for mistake, found in faults.items()
    ]
    folders = [f"`{Path(mistake.file).parent}`" for mistake in faults]
    counts = pd.crosstab(folders, caught_by, margins=True, margins_name="all")
    rows = [["mistakes in", *counts], ["---"] * (1 + counts.shape[1]), *counts.itertuples()]
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    survivors = [f"- {mistake}" for mistake, found in faults.items() if not found]
    caught = f"{len(faults) - len(survivors)} of {len(faults)}"
    lines = [f"On {date.today()} the checks caught {caught}:", "", *lines]
    return "\n".join(lines + ["", "Not caught:", "", *survivors] * bool(survivors)) + "\n"


def main(words: list[str]) -> int:
    """Try the mistakes, two at a time; return 1 if one of them isn't caught."""
    mistakes = catalogue()
    if words:
        mistakes = [m for m in mistakes if any(word in " ".join(map(str, m)) for word in words)]
    if not mistakes:
        sys.exit(f"No line of the catalogue has {' or '.join(map(repr, words))} in it.")
    for mistake in mistakes:
        with_mistake(mistake, PROJECT)  # stop now if it can't be made any more
    commands = [command(mistake) for mistake in mistakes]
    with ThreadPoolExecutor(2) as pool:
        once = dict.fromkeys(commands)
        list(tqdm(pool.map(control, once), "checks without a mistake", len(once)))
        found = tqdm(pool.map(fault, commands, mistakes), "mistakes", len(mistakes))
        faults = dict(zip(mistakes, found, strict=True))
    text = table(faults)
    print(text)
    if not words:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(re.sub(MARKS, lambda _: text, page), encoding="utf-8")
    return int(not all(faults.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
