"""Build the commands that run a learner's code in a sandbox: bubblewrap and prlimit.

The sandbox has the system's programs, this Python, the package mnist_nb, studies and data, all
read-only, and an empty working folder in memory. It has no other files, no network and no other
processes, and its processes end with it. It does not limit processor time, and does not protect
from bugs in the Linux kernel. `sandbox` calls it, and watches with `watch` what the processes
take together.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

import mnist_nb
from mnist_nb.data import data_folder
from mnist_nb.errors import Problem

MEMORY = 6 << 30  # bytes per process, and of all processes together
PROCESSES = 200  # of a notebook, together
_FILE = 100 << 20  # bytes per file
_WORK = 256 << 20  # bytes of all files in the working folder together
_SHARED = 16 << 20  # bytes of all files in /dev/shm together
_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/opt", "/etc/alternatives", "/etc/fonts",
           "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd")  # fmt: skip


# one thread for each notebook, no graphics card, and figures as in a notebook
QUIET = {
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}


class ContainmentError(Problem):
    """Learners' code cannot run in a sandbox on this machine."""


def prlimit_prefix() -> list[str]:
    """Return the prefix that caps a command's memory and file sizes; [] if there is no prlimit."""
    if shutil.which("prlimit"):
        return ["prlimit", f"--data={MEMORY}", f"--fsize={_FILE}", "--core=0"]
    return []


def bwrap_prefix() -> list[str]:
    """Return the prefix for a command in a sandbox."""
    python = [str(Path(folder)) for folder in {sys.prefix, sys.base_prefix}]
    package = Path(mnist_nb.__file__).parent
    command = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns",
               "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--clearenv",
               "--proc", "/proc", "--dev", "/dev", "--size", str(_SHARED), "--tmpfs", "/dev/shm",
               "--remount-ro", "/dev", "--size", str(_WORK), "--tmpfs", "/tmp"]  # fmt: skip
    studies = package.parent / "studies"  # results that exercises read
    for path in [*_SYSTEM, *sorted(python), str(package), str(studies), str(data_folder())]:
        command += ["--ro-bind-try", path, path]
    command += ["--remount-ro", "/", "--chdir", "/tmp"]
    for name, value in {
        "HOME": "/tmp",
        "USER": "learner",
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(package.parent),
        "MNIST_NB_DATA": str(data_folder()),
        **QUIET,
    }.items():
        command += ["--setenv", name, value]
    return command


def watch(pid: int) -> str:
    """Return what the descendants of a process take too much of, together, or ""."""
    try:
        family = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return ""
    if len(family) > PROCESSES:
        return f"it had more than {PROCESSES} processes at once"
    taken = sum(_taken(process.pid) for process in family)
    return f"it took more than {MEMORY >> 30} GiB of memory" if taken > MEMORY else ""


def _taken(pid: int) -> int:
    """Return the bytes of a process: its part of the memory it shares, and its memory files."""
    taken = 0
    with contextlib.suppress(OSError):
        said = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        taken += int(said[1]) * 1024 if said else 0
    with contextlib.suppress(OSError):
        for file in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(file.path).startswith("/memfd:"):
                    taken += os.stat(file.path).st_blocks * 512
    return taken


def require_containment() -> None:
    """Raise ContainmentError if bubblewrap is not installed or does not work here."""
    how = "learners' code would run with all your permissions (--uncontained allows that)"
    if not shutil.which("bwrap"):
        raise ContainmentError(
            f"bubblewrap is not installed, so {how}; on Debian: apt-get install bubblewrap"
        )
    done = subprocess.run([*bwrap_prefix(), "true"], capture_output=True, text=True)
    if done.returncode:
        raise ContainmentError(f"the sandbox does not work here ({done.stderr.strip()}), so {how}")
