"""Note in an executed notebook what made its numbers: versions, processor, threads, data, code.

The kernel itself is asked (`ask` gives `engine` the code), as only it knows its threads and
whether it has used a card. `note_machine` adds what the kernel need not tell, and the digest.
"""

import ast
import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

from mnist_nb.files import write_whole
from mnist_nb.tools import checksums
from mnist_nb.tools.project import PROJECT
from mnist_nb.tools.runs.digest import digest
from mnist_nb.tools.runs.identity import package_sha256
from mnist_nb.tools.runs.results import read_record

ALWAYS = ("mnist-nb", "torch", "torchvision", "numpy", "papermill")  # and what a notebook imports
_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([\w., \t]+))", re.M)
# Runs in the kernel after the last cell, in a namespace of its own. It imports no module that
# the notebook has not imported, as that takes long.
_IN_KERNEL = """\
def said(names):
    import json, os, platform, sys
    from importlib.metadata import version
    def version_of(name):
        try:
            return version(name)
        except Exception:
            return getattr(sys.modules.get(name), "__version__", None)
    facts = {"versions": {n: str(v) for n in names if (v := version_of(n))},
             "python": platform.python_version(),
             "threads": {n: os.environ.get(n) for n in
                         ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}}
    if torch := sys.modules.get("torch"):
        facts["num_threads"] = torch.get_num_threads()
        facts["instructions"] = torch.backends.cpu.get_cpu_capability()
        if torch.cuda.is_initialized():
            facts["card"] = torch.cuda.get_device_name()
    return json.dumps(facts)
"""


def ask(notebook: Mapping) -> str:
    """Return the expression that gives, in a kernel of Python, the text that `answered` reads."""
    code = "\n".join(cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    found = {*ALWAYS}
    for one, several in _IMPORT.findall(code):
        words = [one] if one else [word.split()[0] for word in several.split(",") if word.strip()]
        found |= {word.partition(".")[0] for word in words}
    names = sorted(found - {"mnist_nb"})  # whose version is that of mnist-nb
    # exec returns None; `or` goes on with the function that it has defined
    return f"(lambda s: exec({_IN_KERNEL!r}, s) or s['said']({names!r}))({{}})"


def answered(reply: Mapping) -> dict[str, Any]:
    """Return what a kernel has said to `ask`, from its reply; {} if it has not understood."""
    with contextlib.suppress(KeyError, ValueError, SyntaxError, TypeError):
        text = reply["content"]["user_expressions"]["it"]["data"]["text/plain"]
        return dict(json.loads(ast.literal_eval(text)))
    return {}


def note_machine(path: Path, wall_time: float, chosen: str | None = None, **more: str) -> None:
    """Write versions, processor, time and the like, and `more`, into a notebook's metadata.

    `chosen` is the name of the kernel, if it is not the notebook's own.
    """
    try:
        parameters = read_record(path)["parameters"]
    except ValueError:
        parameters = {}  # not one of our notebooks: it leaves no record
    notebook = nbformat.read(path, as_version=4)
    uses = any("mnist_nb" in cell.source for cell in notebook.cells if cell.cell_type == "code")
    kernel = notebook.metadata.get("mnist_nb", {})  # what `engine` has noted
    notebook.metadata["mnist_nb"] = {
        "python": platform.python_version(),
        "num_threads": None,
        **kernel,
        "versions": _versions() | kernel.get("versions", {}),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "git_commit": _git_commit(),
        "package_sha256": package_sha256() if uses else None,
        "data_sha256": checksums.of_dataset(parameters.get("dataset"), parameters.get("data_dir")),
        "wall_time_s": round(wall_time, 3),
        **({"kernel": chosen} if chosen else {}),
        **more,
    }
    notebook.metadata["mnist_nb"]["digest"] = digest(notebook)
    write_whole(path, nbformat.writes(notebook).encode())


@cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ALWAYS}


def _processor() -> str:
    """Return the name of this machine's processor."""
    with contextlib.suppress(OSError):  # Linux only
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """Return this project's commit, with "+changes" if files differ from it.

    None if the project folder has no .git: a repository further up belongs to another project.
    """
    if not (PROJECT / ".git").exists():
        return None
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--abbrev=40", "--exclude=*",
               "--dirty=+changes"]  # fmt: skip
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
