"""A learner's process is forked, and as contained as one that bubblewrap starts."""

import base64
import ctypes
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from test_classroom import needs_bubblewrap

from mnist_nb.tools.classroom import containment, entrance, sandbox
from mnist_nb.tools.classroom.sandbox import Examiner, Sandbox

pytestmark = needs_bubblewrap
# what a process may do and can see: rights, limits, files, namespaces of its own
SEEN = r"""
import os, re
kept = re.compile("(Cap...|NoNewPrivs|Seccomp|[UG]id|Groups|SigBlk|Umask|TracerPid):")
print(*[line.strip() for line in open("/proc/self/status") if kept.match(line)], sep="\n")
print(open("/proc/self/limits").read())
for line in open("/proc/self/mountinfo"):
    place, options, *rest = line.split()[4:]
    print(place, options, *[word.split(",")[0] for word in rest[rest.index("-"):]])
set_by_imports = ("IPYTHONDIR", "TORCHINDUCTOR_CACHE_DIR", "KMP_INIT_AT_FORK",
                  "KMP_DUPLICATE_LIB_OK")
print({name: value for name, value in sorted(os.environ.items()) if name not in set_by_imports})
print(os.getcwd(), sorted(os.listdir("/")), os.listdir("/dev"), os.listdir("/dev/shm"))
print(sorted(line.split(":")[0].strip() for line in open("/proc/net/dev")))
print(os.uname().nodename, os.nice(0))
"""
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
APART = f"import os\nprint([os.readlink(f'/proc/self/ns/{{name}}') for name in {NAMESPACES}])"
FILES = """
import os
for number in sorted(os.listdir("/proc/self/fd"), key=int):
    try:
        print(number, os.readlink(f"/proc/self/fd/{number}").split(":")[0].split(" ")[0])
    except FileNotFoundError:
        pass
"""
OTHERS = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) != os.getpid():
        for number in os.listdir(f"/proc/{pid}/fd"):
            print(os.readlink(f"/proc/{pid}/fd/{number}").split(":")[0])
"""
MARK = """
import ctypes, fcntl, os
libc = ctypes.CDLL(None)
others = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}
taken = [libc.syscall(438, os.pidfd_open(pid), n, 0)  # pidfd_getfd
         for pid in others for n in range(3)]
taken = [number for number in taken if number >= 0]
print(*[fcntl.fcntl(number, fcntl.F_GETSIG) for number in taken])
print(*[fcntl.fcntl(number, fcntl.F_SETSIG, 13) for number in taken])
"""
FIGURES = """
import matplotlib.pyplot as plt
from mnist_nb import figures
figures.show(figures.curves({"a": ([1, 2], [1, 2])}), "a line")
_ = plt.plot([1, 2])
plt.show()
_ = plt.plot([2, 1])
"""
OUT = """
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def refused(what, act):
    try:
        act()
        print(what, "WORKS")
    except OSError as error:
        print(what, "is refused")
def call(name, *given):
    if getattr(libc, name)(*given):
        raise OSError(ctypes.get_errno(), name)
program = os.open("/proc/self/exe", os.O_RDONLY)
refused("its own program", lambda: os.open(f"/proc/self/fd/{program}", os.O_WRONLY))
refused("a program", lambda: os.open(sys.executable, os.O_WRONLY))
refused("users", lambda: call("unshare", 0x10000000))
refused("mounts", lambda: call("unshare", 0x00020000))
refused("a mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
refused("an unmount", lambda: call("umount2", b"/tmp", 2))
refused("a root", lambda: os.chroot("/tmp"))
refused("a name", lambda: call("sethostname", b"x", 1))
refused("the sandbox of another process", lambda: call("setns", os.pidfd_open(1), 0x00020000))
refused("a setting of the kernel", lambda: open("/proc/sys/fs/lease-break-time", "a"))
refused("a limit", lambda: open("/proc/sys/user/max_user_namespaces", "w").write("9"))
said = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
print([line for line in said.splitlines() if line.startswith(("CapEff", "NoNew"))])
print([name for name in os.listdir("/proc") if name.isdigit() and
       b"classroom" in open(f"/proc/{name}/cmdline", "rb").read() and int(name) != os.getpid()])
"""
LEFT = """
import fcntl, os, torch
fcntl.fcntl(0, fcntl.F_SETFL, os.O_APPEND); fcntl.fcntl(0, fcntl.F_SETSIG, 42)
open("/tmp/left", "w").write("x"); open("/dev/shm/left", "w").write("x")
torch.left = True
os.environ["LEFT"] = "x"
"""
FOUND = """
import fcntl, os, torch
print(fcntl.fcntl(0, fcntl.F_GETFL) & os.O_APPEND, fcntl.fcntl(0, fcntl.F_GETSIG))
places = [os.listdir(place) for place in ("/tmp", "/dev/shm")]
print(["left" in names for names in places], hasattr(torch, "left"), "LEFT" in os.environ)
"""


@pytest.fixture(scope="module")
def processes():
    learners, examiner = Sandbox(contained=True), Examiner({"one": []})
    yield learners, examiner
    learners.stop()
    examiner.stop()


def shown(learners: Sandbox, examiner: Examiner, source: str) -> str:
    """What a learner's cell with this source prints."""
    cell = {"id": "own", "source": source, "code": True}
    result = learners.run(examiner, {"exercise": "one", "cells": [cell], "seconds": 60})
    return "".join(str(o.get("text", o)) for outputs in result["cells"] for o in outputs).strip()


def started(source: str) -> str:
    """What the same Python code prints in a sandbox in which bubblewrap starts Python."""
    prefix = [*containment.prlimit_prefix(), *containment.bwrap_prefix()]
    prefix += ["prlimit", "--nofile=512:512", "--nproc=400:400"]
    done = subprocess.run([*prefix, sys.executable, "-c", source], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()


def test_it_has_the_rights_limits_files_and_names_of_one_that_bubblewrap_starts(processes):
    seen = shown(*processes, SEEN)
    assert processes[0]._forking and not processes[0]._cold
    assert "CapEff:\t0000000000000000" in seen and seen == started(SEEN)


def test_it_shares_no_namespace_with_what_forks_it_nor_with_the_machine(processes):
    inside = eval(shown(*processes, APART))
    (forking,) = psutil.Process(processes[0]._forking.process.pid).children()
    for process in (psutil.Process(), forking):
        where = [os.readlink(f"/proc/{process.pid}/ns/{name}") for name in NAMESPACES]
        assert not {*where} & {*inside}


def test_it_has_no_file_open_but_the_streams_its_outputs_and_the_channel(processes):
    kinds = [line.split()[1] for line in shown(*processes, FILES).splitlines()]
    assert sorted(kinds) == ["/dev/null", "/memfd", "/memfd", "/memfd", "socket"]


def test_nothing_can_be_left_in_a_file_of_the_sandboxs_other_processes(processes):
    assert {*shown(*processes, OTHERS).split()} <= {"pipe", "/dev/null", "anon_inode"}
    for _ in range(2):
        assert {*shown(*processes, MARK).split()} == {"0"}, "no flag is left for the next notebook"


def test_no_thread_is_left_that_a_fork_would_wait_for(processes):
    busy = "torch.set_num_threads(4)\n_ = torch.rand(1_000, 1_000).sin() @ torch.rand(1_000, 9)"
    count = "import os, torch\n{}\nprint(len(os.listdir('/proc/self/task')))"
    assert shown(*processes, count.format(busy)) == shown(*processes, count.format(""))


def test_figures_reach_the_page_as_pictures_and_each_once(processes):
    cell = {"id": "own", "source": FIGURES, "code": True}
    learners, examiner = processes
    result = learners.run(examiner, {"exercise": "one", "cells": [cell], "seconds": 60})
    pictures = [output["data"]["image/png"] for output in result["cells"][0]]
    assert len({*pictures}) == len(pictures) == 3
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)


def test_it_can_change_neither_its_program_nor_its_sandbox_and_sees_no_process_of_ours(processes):
    said = shown(*processes, OUT)
    assert "WORKS" not in said and said.count("is refused") == 11, said
    assert "['CapEff:\\t0000000000000000', 'NoNewPrivs:\\t1']" in said
    assert said.splitlines()[-1] == "[]"


def test_memory_that_forked_processes_would_share_is_refused():
    source = """if True:
    import mmap
    from mnist_nb.tools.classroom import entrance
    for shared in (mmap.mmap(-1, 4096), None):
        try:
            entrance.enter(["false"])
        except OSError as error:
            print(error)
        shared and shared.close()
    """  # in a process of its own: pytest's has what other tests' libraries left
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    refused, other = done.stdout.splitlines()
    assert "shares memory" in refused and "made no sandbox" in other


def test_nothing_is_left_for_the_next_notebook(processes):
    assert shown(*processes, LEFT) == ""
    assert shown(*processes, FOUND) == "0 0\n[False, False] False False"


@pytest.mark.skipif(not entrance.KEYCTL, reason="the number of the call is not known here")
def test_it_has_no_key_of_the_session_in_which_grading_was_started():
    call, key = ctypes.CDLL(None).syscall, (b"user", b"of-the-grader")
    call(entrance.KEYCTL, 1, None)  # a session of keys, as a login has one
    if call(entrance.KEYCTL - 2, *key, b"x", ctypes.c_size_t(1), -3) < 0:
        pytest.skip("the kernel gives no keys here")
    learners, examiner = Sandbox(contained=True), Examiner({"one": []})
    try:
        search = f"import ctypes\nsearch = ctypes.CDLL(None).syscall, {entrance.KEYCTL}, 10, -3"
        found = shown(learners, examiner, f"{search}\nprint(search[0](*search[1:], *{key}, 0))")
        assert found == "-1"
    finally:
        learners.stop()
        examiner.stop()


def test_it_cannot_have_more_files_and_is_ended_for_more_threads(processes, monkeypatch):
    more = "import resource\ntry:\n    resource.setrlimit(resource.RLIMIT_NOFILE, (513, 513))\n"
    more += "except (OSError, ValueError):\n    print('refused')"
    assert shown(*processes, more) == "refused"
    monkeypatch.setattr(containment, "THREADS", 30)
    many = "import threading, time\nfor _ in range(40):\n    threading.Thread("
    many += "target=time.sleep, args=(20,), daemon=True).start()\ntime.sleep(20)"
    cell = {"id": "own", "source": many, "code": True}
    result = processes[0].run(processes[1], {"exercise": "one", "cells": [cell], "seconds": 60})
    assert result["stopped"] == "it had more than 30 threads at once"


def test_shared_memory_counts_although_its_pages_are_dropped_from_the_process(monkeypatch):
    monkeypatch.setattr(containment, "MEMORY", 100 << 20)
    code = "import mmap, os\nif os.fork():\n    os.wait()\nelse:\n"
    code += "    m = mmap.mmap(-1, 150 << 20)\n    m.madvise(mmap.MADV_DONTNEED)\n"
    code += "    print('there', flush=True)\n    input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as outer:
        assert outer.stdout.readline() == b"there\n"
        assert "of memory" in containment.watch(outer.pid)


def test_a_memory_file_counts_that_only_a_private_mapping_keeps_and_dev_zero_does_not(monkeypatch):
    monkeypatch.setattr(containment, "MEMORY", 100 << 20)
    code = "import mmap, os, sys\nif os.fork():\n    os.wait()\nelse:\n"
    code += "    file = eval(sys.argv[1])\n"
    code += "    m = mmap.mmap(file, 150 << 20, flags=mmap.MAP_PRIVATE)\n"
    code += "    print('there', flush=True)\n    input()"
    memory = "os.memfd_create('x')\nos.truncate(file, 150 << 20)"
    for file, counts in ((memory, True), ("os.open('/dev/zero', os.O_RDWR)", False)):
        file, _, rest = file.partition("\n")
        source = code.replace("eval(sys.argv[1])", f"{file}; {rest}")
        with subprocess.Popen([sys.executable, "-c", source], stdin=-1, stdout=-1) as outer:
            assert outer.stdout.readline() == b"there\n"
            assert ("of memory" in containment.watch(outer.pid)) is counts


def test_images_that_are_loaded_before_the_fork_are_each_notebooks_own(processes):
    code = "from mnist_nb.loading import load\n"
    code += "for _ in range(2):\n    x = load().x\n    print(*x.shape, x.sum().item())\n"
    code += "    x.zero_()"
    said = [shown(*processes, code).splitlines() for _ in range(2)]
    assert len({*said[0], *said[1]}) == 1 and said[0][0].startswith("60000 1 28 28 ")
    assert not said[0][0].endswith(" 0.0")


def test_the_processes_that_are_watched_are_all_descendants_also_those_of_threads():
    source = """if True:
    import subprocess, sys, threading
    command = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"]
    threading.Thread(target=lambda: subprocess.Popen(["sleep", "60"])).start()
    threading.Thread(target=lambda: subprocess.run(command)).start()
    print("there", flush=True)
    input()
    """
    with subprocess.Popen([sys.executable, "-c", source], stdin=-1, stdout=-1) as outer:
        assert outer.stdout.readline() == b"there\n"
        while len(among_all := containment._family_among_all(outer.pid)[0]) < 3:
            time.sleep(0.05)
        assert sorted(containment._family(outer.pid)[0]) == sorted(among_all)
        assert len(containment._family(os.getpid())[0]) >= 4
        for pid in among_all:
            os.kill(pid, signal.SIGKILL)
        outer.kill()


def test_each_notebook_has_random_numbers_of_its_own(processes):
    draw = "import random, torch, numpy.random as n\n"
    draw += "print(random.random(), n.rand(), torch.rand(1).item())"
    drawn = [shown(*processes, draw).split() for _ in range(2)]
    assert not {*drawn[0]} & {*drawn[1]}


def test_where_a_sandbox_cannot_be_entered_each_process_is_started_in_one(monkeypatch, caplog):
    monkeypatch.setattr(sandbox, "outer_prefix", lambda: ["false"])
    learners, examiner = Sandbox(contained=True), Examiner({"one": []})
    try:
        assert shown(learners, examiner, "print(6 * 7)") == "42"
        assert "imports PyTorch anew" in caplog.text
    finally:
        learners.stop()
        examiner.stop()
