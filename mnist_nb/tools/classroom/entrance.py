"""Move a process that has imported torch into a sandbox that bubblewrap has made.

`inside` forks a process for each notebook. Bubblewrap makes the sandbox, with a shell that waits
in it, and the process enters the namespaces of that shell: files, processes, network, users and
the rest. What it then forks has the sandbox's files and processes only, and gives up all rights.
So a notebook is as contained as if bubblewrap had started its Python.
"""

import contextlib
import ctypes
import os
import platform
import re
import resource
import signal
import subprocess

import psutil

from mnist_nb.tools.classroom.containment import THREADS

_LIBC = ctypes.CDLL(None, use_errno=True)
# of mounts, control groups, names, messages, users, processes and the network
_NAMESPACES = (0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000
               | 0x40000000)  # fmt: skip
_DIE_WITH_PARENT, _DUMPABLE, _DROP_FROM_BOUND, _NO_NEW_RIGHTS, _AMBIENT = 1, 4, 24, 38, 47
_CLEAR_ALL = 4
_CAPABILITIES = (ctypes.c_uint32 * 2)(0x20080522, 0)  # header of capset: version 3, own process
KEYCTL = {"x86_64": 250, "aarch64": 219}.get(platform.machine())  # the number of the call
_JOIN_NEW_KEYRING = 1
_FILES = 512  # open files of a process
_WAIT = ["sh", "-c", "echo; read wait"]


def die_with_parent(parent: int) -> None:
    """End this process when its parent ends; `parent` is that one's id, seen from here."""
    _prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def shared_mappings() -> int:
    """Return how many mappings of this process are shared with its forks and can be written."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        return sum({"w", "s"} <= {*line.split()[1]} for line in file)


def enter(command: list[str]) -> subprocess.Popen:
    """Make a sandbox with `command`, and move into it; what this process forks is inside.

    Return the sandbox's process: all that is inside ends with it.

    Raises:
        OSError: the sandbox cannot be made or entered, or something would be shared with others.
    """
    if shared_mappings():
        raise OSError("a library shares memory with the processes that are forked from it")
    # its own streams: what is inside can open those of the sandbox's other processes
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    made = subprocess.Popen([*command, *_WAIT], **streams)
    try:
        if not made.stdout.read(1):
            raise OSError("bubblewrap made no sandbox")
        *_, shell = psutil.Process(made.pid).children(recursive=True)
        place = os.pidfd_open(shell.pid)
        try:
            _checked(_LIBC.setns(place, _NAMESPACES))
        finally:
            os.close(place)
    except (OSError, ValueError, AttributeError, psutil.Error) as error:
        made.kill()
        made.wait()
        raise OSError(f"the sandbox cannot be entered: {error}") from error
    return made


def keep_apart() -> None:
    """Leave the session's keyring, and limit open files and, where possible, threads.

    The kernel counts open files per process, and threads per user. Root's threads have no such
    limit, so `containment.watch` counts threads, too.
    """
    leave_keyring()
    _limit(resource.RLIMIT_NOFILE, _FILES)
    with open("/proc/self/uid_map", encoding="ascii") as file:
        own_users = int(file.read().split()[2]) < 1 << 31
    if own_users and _counts_by_namespace():  # otherwise the user's other threads would count
        _limit(resource.RLIMIT_NPROC, THREADS)


def _limit(kind: int, most: int) -> None:
    most = min(n for n in (most, *resource.getrlimit(kind)) if n != resource.RLIM_INFINITY)
    resource.setrlimit(kind, (most, most))


def leave_keyring() -> None:
    """Have the kernel keep this process's keys apart from those of the session it came from."""
    if KEYCTL:
        _LIBC.syscall(KEYCTL, _JOIN_NEW_KEYRING, None)


def _counts_by_namespace() -> bool:
    """Return whether the kernel counts a user's threads in each namespace alone: from 5.14 on."""
    return tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2]) >= (5, 14)


def give_up_rights() -> None:
    """Give up what entering a sandbox gives: a process in it has no rights, and gets none.

    Raises:
        OSError: a right is left.
    """
    os.setsid()
    _prctl(_AMBIENT, _CLEAR_ALL)
    number = 0
    with contextlib.suppress(OSError):  # beyond the last capability that the kernel knows
        while True:
            _prctl(_DROP_FROM_BOUND, number)
            number += 1
    _prctl(_NO_NEW_RIGHTS, 1)
    _checked(_LIBC.capset(_CAPABILITIES, (ctypes.c_uint32 * 6)()))
    _prctl(_DUMPABLE, 1)  # its own files in /proc belong to it, as after a start
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        said = dict(line.split(":", 1) for line in file)
    rights = [int(said[f"Cap{which}"], 16) for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
    if any(rights) or int(said["NoNewPrivs"]) != 1:
        raise OSError("the sandbox has rights that it should not have")


def _prctl(option: int, value: int) -> None:
    _checked(_LIBC.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3))


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
