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
PROCESSES, THREADS = 200, 400  # of a notebook, together
_FILE = 100 << 20  # bytes per file
_WORK = 256 << 20  # bytes of all files in the working folder together
_SHARED = 16 << 20  # bytes of all files in /dev/shm together
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SHARED_KINDS = (b"/dev/zero", b"/memfd:", b"/SYSV")
# a line of /proc/PID/maps on shared memory: start, end, offset, then device and inode. A memory
# file counts even if it is mapped privately, as that keeps it in memory; a private mapping of
# /dev/zero is ordinary memory, and does not count here
_SHARING = re.compile(
    rb"^(\w+)-(\w+) ...(?:s|p(?=.* /memfd:)) (\w+) (\S+ \d+) +(?:%s)" % b"|".join(_SHARED_KINDS),
    re.M,
)
_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/opt", "/etc/alternatives", "/etc/fonts",
           "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd")  # fmt: skip


# one thread for each notebook, no graphics card, and figures as in a notebook
QUIET = {
    "OMP_NUM_THREADS": "1",
    "OMP_THREAD_LIMIT": "1",  # a fork of a process with such threads would wait for them forever
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
    apart = ["--unshare-all", "--disable-userns"]
    # read-only, as root could change the kernel's settings in /proc/sys without any capability
    return _bwrap([*apart, "--proc", "/proc", "--remount-ro", "/proc"])


def outer_prefix() -> list[str]:
    """Return the prefix for the process that makes sandboxes, and forks what runs in them.

    It sees the same read-only files as a sandbox. What it forks leaves these when it enters its
    own sandbox, and keeps only the link /proc/self/exe. It sees the machine's processes, as it
    makes namespaces with a /proc of their own: the kernel allows that only to a process that can
    see all of an existing /proc.
    """
    apart = ["--unshare-ipc", "--unshare-net", "--unshare-uts", "--dev-bind", "/proc", "/proc"]
    # as root: without this capability, the kernel does not map user id 0 into a new namespace
    return _bwrap(apart, [] if os.geteuid() else ["--cap-add", "CAP_SETFCAP"])


def _bwrap(namespaces: list[str], capabilities: list[str] = ()) -> list[str]:
    python = [str(Path(folder)) for folder in {sys.prefix, sys.base_prefix}]
    package = Path(mnist_nb.__file__).parent
    command = ["bwrap", "--unshare-user", *namespaces, "--cap-drop", "ALL", *capabilities,
               "--new-session", "--die-with-parent", "--clearenv",
               "--dev", "/dev", "--size", str(_SHARED), "--tmpfs", "/dev/shm",
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
    pids, threads = _family(pid)
    if len(pids) > PROCESSES:
        return f"it had more than {PROCESSES} processes at once"
    if threads > THREADS:
        return f"it had more than {THREADS} threads at once"
    files = sum(map(_memory_files, pids)) + _mapped(pids)
    most = {pid: _at_most(pid) for pid in pids}
    taken = files + sum(most.values())
    for pid in sorted(pids, key=most.get, reverse=True):
        if taken <= MEMORY:
            break
        taken += _part(pid) - most[pid]  # the kernel counts parts slowly, so no more than it needs
    return f"it took more than {MEMORY >> 30} GiB of memory" if taken > MEMORY else ""


def _family(pid: int) -> tuple[list[int], int]:
    """Return the ids of the descendants of a process, and the number of their threads.

    The kernel lists the children of each thread, so the machine's other processes cost nothing.
    """
    if not os.path.exists("/proc/thread-self/children"):
        return _family_among_all(pid)
    found, threads, waiting = [], 0, [pid]
    while waiting and len(found) <= PROCESSES and threads <= THREADS:
        of = waiting.pop()
        with contextlib.suppress(OSError):
            tasks = os.listdir(f"/proc/{of}/task")
            threads += len(tasks) if of != pid else 0
            for task in tasks:
                with contextlib.suppress(OSError):
                    said = Path(f"/proc/{of}/task/{task}/children").read_text()
                    found += (children := [int(child) for child in said.split()])
                    waiting += children
    return found, threads


def _family_among_all(pid: int) -> tuple[list[int], int]:
    """Return the same where the kernel has no such lists."""
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(pid).children(recursive=True)
        return [process.pid for process in family], sum(map(_threads, family))
    return [], 0


def _threads(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return process.num_threads()
    return 0


def _at_most(pid: int) -> int:
    """Return the bytes of a process in memory, with all that it shares."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0


def _part(pid: int) -> int:
    """Return the bytes of a process, with its part of what it shares."""
    with contextlib.suppress(OSError):
        said = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        return int(said[1]) * 1024 if said else 0
    return 0


def _mapped(pids: list[int]) -> int:
    """Return the bytes of the shared memory that processes have mapped.

    Each piece counts once, with its size up to the end of the furthest mapping. What a process has
    in memory would be too little: it can drop pages from its own count that stay in memory.
    """
    sizes: dict[bytes, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            maps = Path(f"/proc/{pid}/maps").read_bytes()
            if not any(kind in maps for kind in _SHARED_KINDS):
                continue  # a search for words is quicker
            for found in _SHARING.finditer(maps):
                start, end, offset = (int(number, 16) for number in found.groups()[:3])
                size = offset + end - start
                sizes[found[4]] = max(sizes.get(found[4], 0), size)
    return sum(sizes.values())


def _memory_files(pid: int) -> int:
    """Return the bytes of a process's memory files."""
    taken = 0
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
