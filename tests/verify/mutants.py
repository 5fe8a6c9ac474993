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


def with_mistake(mistake: Mistake, project: Path) -> str | None:
    """Return the file's text with the mistake made, once; None if its old text is gone."""
    path, old, new = project / mistake.file, mistake.old, mistake.new
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if path.suffix != ".ipynb":
        return text.replace(old, new, 1) if old in text else None
    kind, key = ("markdown", "source") if mistake.part == "words" else ("code", mistake.part)
    old, new = (part and json.dumps(part, ensure_ascii=False)[1:-1] for part in (old, new))
    notebook = json.loads(text or '{"cells": []}')
    for cell in notebook["cells"]:
        stored = json.dumps(cell.get(key), ensure_ascii=False)
        if cell["cell_type"] == kind and old in stored:
            cell[key] = [] if new is None else json.loads(stored.replace(old, new, 1))
            return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
    return None


def gone(mistakes: list[Mistake]) -> list[str]:
    """Return a sentence for each mistake that can't be made any more."""
    return [
        f"{m}: {m.old!r} is gone from the file. Change or drop its line in {CATALOGUE.name}."
        for m in mistakes
        if with_mistake(m, PROJECT) is None
    ]


def command(mistake: Mistake) -> tuple[str, ...]:
    """Return the command of the check that has to catch the mistake."""
    name, *options = shlex.split(mistake.check)
    match name:
        case "ruff":
            words = ["ruff", "check", "--quiet", mistake.file]
        case "lint":
            words = ["mnist_nb.tools.cli", "lint", mistake.file]
        case "nbval":
            words = ["pytest", "-q", "-x", *(options or [mistake.file])]
        case _:
            (path,) = PROJECT.glob(f"tests/*/test_{name}.py")
            words = ["pytest", "-q", "-x", str(path.relative_to(PROJECT)), *options]
    return sys.executable, "-m", *words


def fault(command: tuple[str, ...], mistake: Mistake | None = None) -> str:
    """Return the last words of `command` if it fails in a copy of the project; "" if it passes.

    One that is killed from outside counts as passed: nothing is caught by that.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(folder)
        shutil.copytree(
            PROJECT, copy, dirs_exist_ok=True,
            ignore=lambda where, _: ASIDE if where == str(PROJECT) else {"__pycache__"},
        )  # fmt: skip
        if mistake:
            (copy / mistake.file).write_text(with_mistake(mistake, copy), encoding="utf-8")
        aside = PROJECT / "build" / "nbgrader"  # the copy has no build folder
        own = {"PYTHONPATH": f"{copy}{os.pathsep}{aside}", "MNIST_NB_DATA": str(data_folder())}
        try:
            done = subprocess.run(
                command, cwd=copy, env=os.environ | own, capture_output=True, text=True,
                timeout=SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"not done after {SECONDS} seconds"
    return "" if done.returncode <= 0 else (done.stdout + done.stderr)[-500:] or "no words"


def control(command: tuple[str, ...]) -> None:
    """Check that `command` passes without any mistake.

    Raises:
        SystemExit: it fails, so it can't catch a mistake.
    """
    if found := fault(command):
        check = " ".join(command[2:])
        raise SystemExit(f"Make this pass first, it fails without any mistake: {check}\n{found}")


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
    survivors = [f"- {mistake}" for mistake, found in faults.items() if not found]
    return "\n".join([
        f"On {date.today()} the checks caught {len(faults) - len(survivors)} of {len(faults)}:",
        "",
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
        *(["", "Not caught:", "", *survivors] if survivors else []),
        "",
    ])  # fmt: skip


def main(words: list[str]) -> int:
    """Try the mistakes, two at a time; return 1 if one of them isn't caught."""
    mistakes = catalogue()
    if words:
        mistakes = [m for m in mistakes if any(word in " ".join(map(str, m)) for word in words)]
    if not mistakes:
        raise SystemExit(f"No line of the catalogue has {' or '.join(map(repr, words))} in it.")
    if sentences := gone(mistakes):
        raise SystemExit("\n".join(sentences))
    commands = [command(mistake) for mistake in mistakes]
    once = dict.fromkeys(commands)
    faults = {}
    with ThreadPoolExecutor(2) as pool:
        for _ in tqdm(pool.map(control, once), "checks without a mistake", len(once)):
            pass
        found = zip(mistakes, pool.map(fault, commands, mistakes), strict=True)
        for mistake, faults[mistake] in tqdm(found, "mistakes", len(mistakes)):
            if not faults[mistake]:
                tqdm.write(f"not caught: {mistake}")
    text = table(faults)
    print(text)
    if not words:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(re.sub(MARKS, lambda _: text, page), encoding="utf-8")
    return int(not all(faults.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
