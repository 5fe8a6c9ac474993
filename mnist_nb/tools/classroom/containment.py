"""Build the commands that run a learner's code in a sandbox: bubblewrap and prlimit.

The sandbox has the system's programs, this Python, the package mnist_nb and the data, all
read-only, an empty working folder in memory, and one writable folder with the kernel's sockets.
It has no other files, no network and no other processes, and its processes end with it. It does
not limit processor time, and does not protect from bugs in the Linux kernel. `grading` calls it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import mnist_nb
from mnist_nb.data import data_folder
from mnist_nb.errors import Problem

MEMORY = 6 << 30  # bytes per process
_FILE = 100 << 20  # bytes per file
_WORK = 256 << 20  # bytes of all files in the working folder together
_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/opt", "/etc/alternatives", "/etc/fonts",
           "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd")  # fmt: skip


class ContainmentError(Problem):
    """Learners' code cannot run in a sandbox on this machine."""


def prlimit_prefix() -> list[str]:
    """Return the prefix that caps a command's memory and file sizes; [] if there is no prlimit."""
    if shutil.which("prlimit"):
        return ["prlimit", f"--data={MEMORY}", f"--fsize={_FILE}", "--core=0"]
    return []


def bwrap_prefix(shared: Path) -> list[str]:
    """Return the `bwrap` prefix for a command whose only lasting files are those in `shared`."""
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


def require_containment() -> None:
    """Raise ContainmentError if bubblewrap is not installed or does not work here."""
    how = "learners' code would run with all your permissions (--uncontained allows that)"
    if not shutil.which("bwrap"):
        raise ContainmentError(
            f"bubblewrap is not installed, so {how}; on Debian: apt-get install bubblewrap"
        )
    done = subprocess.run([*bwrap_prefix(Path("/tmp")), "true"], capture_output=True, text=True)
    if done.returncode:
        raise ContainmentError(f"bubblewrap does not work here ({done.stderr.strip()}), so {how}")
