"""Run a learner's code where it can harm nothing: bubblewrap, and limits of the system.

Inside, there are the system's programs, this Python, the package mnist_nb and the data, all
read-only; an empty folder in memory to work in; and nothing else: no other file of this machine,
no network, no other process. What is started inside ends with it. Not contained are how much
the processor is used within the time limit, and faults of the Linux kernel itself.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import mnist_nb
from mnist_nb.data import data_folder
from mnist_nb.errors import Problem

MEMORY = 6 << 30  # bytes that one process may have
_FILE = 100 << 20  # bytes that one file may have
_WORK = 256 << 20  # bytes that all files in the working folder may have together
_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/opt", "/etc/alternatives", "/etc/fonts",
           "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd")  # fmt: skip


class ContainmentError(Problem):
    """Learners' code cannot be contained on this machine."""


def prlimit_prefix() -> list[str]:
    """Return the `prlimit` prefix that caps memory and file sizes of a command."""
    if shutil.which("prlimit"):
        return ["prlimit", f"--data={MEMORY}", f"--fsize={_FILE}", "--core=0"]
    return []


def bwrap_prefix(shared: Path) -> list[str]:
    """Return the `bwrap` prefix that lets a command write nothing that stays but to `shared`."""
    python = [str(Path(folder)) for folder in {sys.prefix, sys.base_prefix}]
    package = Path(mnist_nb.__file__).parent
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--clearenv", "--proc", "/proc",
               "--dev", "/dev", "--size", str(_WORK), "--tmpfs", "/tmp"]  # fmt: skip
    for path in [*_SYSTEM, *sorted(python), str(package), str(data_folder())]:
        command += ["--ro-bind-try", path, path]
    command += ["--bind", str(shared), str(shared), "--remount-ro", "/", "--chdir", "/tmp"]
    for name, value in {
        "HOME": "/tmp",
        "USER": "learner",
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(package.parent),
        "MNIST_NB_DATA": str(data_folder()),
        "OMP_NUM_THREADS": "1",
    }.items():
        command += ["--setenv", name, value]
    return command


def need_containment() -> None:
    """Raise ContainmentError if bubblewrap is not there, or cannot work here."""
    how = "learners' code would run with all your rights (--uncontained allows that)"
    if not shutil.which("bwrap"):
        raise ContainmentError(
            f"bubblewrap is not installed, so {how}; on Debian: apt-get install bubblewrap"
        )
    done = subprocess.run([*bwrap_prefix(Path("/tmp")), "true"], capture_output=True, text=True)
    if done.returncode:
        raise ContainmentError(f"bubblewrap cannot work here ({done.stderr.strip()}), so {how}")
