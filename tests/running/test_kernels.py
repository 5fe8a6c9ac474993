"""Kernels forked from a launcher: what they are, how they end, and what happens without one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty

import nbformat
import psutil
import pytest
from conftest import PROJECT, Family, small_notebook, wait_until
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning import KernelProvisionerFactory

from mnist_nb.tools import kernels, launcher_client
from mnist_nb.tools.verify.normal_form import serialised
from mnist_nb.tools.verify.refresh import refresh

needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")
SECONDS = 60


@pytest.fixture(scope="module", autouse=True)
def launcher():
    """A launcher for this process, with as little imported as the tests need."""
    before = kernels._launcher, KernelProvisionerFactory.instance().default_provisioner_name
    kernels._launcher = None
    kernels.use()
    yield
    kernels._launcher.stop()
    kernels._launcher, KernelProvisionerFactory.instance().default_provisioner_name = before


class Kernel:
    """A running kernel, and what its cells print."""

    def __init__(self, **options):
        # before it kills the kernel; Jupyter's 5 seconds are too few on a busy machine
        self.manager = KernelManager(kernel_name="python3", shutdown_wait_time=SECONDS)
        self.manager.start_kernel(**options)
        self.connect()

    def connect(self) -> None:
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)

    @property
    def pid(self) -> int:
        return self.manager.provisioner.process.pid

    @property
    def is_forked(self) -> bool:
        return isinstance(self.manager.provisioner.process, kernels.ForkedKernel)

    def run(self, code: str) -> str:
        said = []
        reply = self.client.execute_interactive(
            code, timeout=SECONDS, output_hook=lambda m: said.append(m["content"].get("text", ""))
        )
        assert reply["content"]["status"] == "ok", reply
        return "".join(said).strip()


@contextlib.contextmanager
def running(**options):
    kernel = Kernel(**options)
    try:
        yield kernel
    finally:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)


@pytest.fixture
def cold(monkeypatch):
    """Kernels as Jupyter starts them."""
    monkeypatch.setattr(kernels._launcher, "_works", False)


@pytest.fixture
def plain(monkeypatch):
    """A launcher that imports nothing but the kernel, and so is there at once."""
    launcher = kernels.Launcher(())
    monkeypatch.setattr(kernels, "_launcher", launcher)
    yield
    launcher.stop()


# --- what a forked kernel is

STATE = """
import gc, json, locale, logging, os, signal, sys, threading, warnings
def signals():
    return [str(signal.getsignal(n)) for n in (1, 2, 3, 13, 15, 17)]
loaded = [name for name in ("mnist_nb", "matplotlib_inline.backend_inline")
          if name in sys.modules]
threads = sorted(t.name for t in threading.enumerate())
import matplotlib.pyplot, pandas, torch, torchvision
print(json.dumps({
    "main": [__name__, sys.modules["__main__"].__dict__ is globals(),
             hasattr(sys.modules["__main__"], "__file__")],
    "arguments": [os.path.basename(sys.argv[0]), sys.argv[1], len(sys.argv)],
    "path": sys.path, "flags": str(sys.flags), "loaded": loaded, "threads": threads,
    "environment": {k: v for k, v in os.environ.items() if k != "JPY_PARENT_PID"},
    "parent": int(os.environ["JPY_PARENT_PID"]) == os.getppid(),
    "own session": os.getsid(0) == os.getpgid(0) == os.getpid(),
    "folder": os.getcwd(), "signals": signals(), "umask": os.umask(0o22),
    "blocked": str(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "stdin": os.read(0, 1).decode(), "streams": [os.fstat(n).st_ino for n in (1, 2)],
    "filters": sorted(map(str, warnings.filters)), "collector": gc.get_threshold(),
    "loggers": [str(h) for h in logging.root.handlers], "locale": locale.getlocale(),
    "columns": pandas.options.display.max_columns,
    "torch threads": torch.get_num_threads(), "cuda": torch.cuda.is_initialized(),
    "kinds": [type(s).__name__ for s in (sys.stdin, sys.stdout, sys.__stdout__)],
    "buffering": [sys.__stdout__.line_buffering, sys.__stderr__.line_buffering],
}))"""


@needs_fork
def test_a_forked_kernel_is_in_all_that_can_be_seen_what_a_fresh_one_is(tmp_path, request):
    with open(tmp_path / "out", "wb") as out:
        options = {"cwd": str(tmp_path), "stdout": out, "stderr": out}
        with running(**options) as kernel:
            assert kernel.is_forked
            forked = json.loads(kernel.run(STATE))
        request.getfixturevalue("cold")
        with running(**options) as kernel:
            assert not kernel.is_forked
            fresh = json.loads(kernel.run(STATE))
    assert forked == fresh
    assert fresh["own session"] and fresh["folder"] == str(tmp_path)


@needs_fork
def test_no_two_kernels_share_their_random_numbers():
    code = "import random, uuid, numpy, torch\n" + "\n".join(
        f"print({it})"
        for it in ("random.random()", "numpy.random.rand()", "torch.rand(1)", "uuid.uuid4()")
    )
    said = []
    for _ in range(2):
        with running() as kernel:
            assert kernel.is_forked
            said.append(kernel.run(code).splitlines())
    assert all(a != b for a, b in zip(*said, strict=True)) and len(said[0]) == 4


@needs_fork
def test_a_launcher_has_started_no_thread_of_torch_and_no_cuda_when_it_forks():
    code = "import os, torch\nprint(len(os.listdir(f'/proc/{os.getppid()}/task')))"
    with running() as kernel:
        threads = int(kernel.run(code))
    assert threads <= os.cpu_count()  # numpy's own pool, which looks after itself in a fork


@needs_fork
def test_a_forked_kernel_has_found_its_fonts_and_imported_what_writes_a_webp():
    code = (
        "from matplotlib import font_manager\nfrom PIL import Image\n"
        "found = font_manager.FontManager._findfont_cached.cache_info().currsize\n"
        "print(found > 0, 'WEBP' in Image.SAVE)"
    )
    with running() as kernel:
        assert kernel.run(code) == "True True"


@needs_fork
@pytest.mark.parametrize(
    "name",
    [
        "solutions/03_loss",
        *(
            pytest.param(name, marks=pytest.mark.whole)
            for name in (
                "solutions/01_architecture",
                "solutions/04_data",
                "00_walkthrough",
                "06_evaluation",
            )
        ),
    ],
)
def test_a_notebook_has_the_same_bytes_warm_and_cold(tmp_path, name, request):
    original = PROJECT / "notebooks" / f"{name}.ipynb"
    copies = [tmp_path / "warm" / original.name, tmp_path / "cold" / original.name]
    for path in copies:
        path.parent.mkdir()
        path.write_bytes(original.read_bytes())
        if path == copies[1]:
            request.getfixturevalue("cold")
        refresh(path)
    assert copies[0].read_bytes() == copies[1].read_bytes()


# --- how it ends


@needs_fork
def test_an_interrupt_stops_the_cell_and_leaves_the_kernel_and_its_variables():
    with running() as kernel:
        kernel.run("x = 41")
        cell = "import time; print('on', flush=True); time.sleep(60)"
        # without stop_on_error=False the kernel may abort the request that follows the error
        message = kernel.client.execute(cell, stop_on_error=False)
        while kernel.client.get_iopub_msg(timeout=SECONDS)["content"].get("text") != "on\n":
            pass
        reply = None
        for _ in range(SECONDS // 5):  # Python drops one that arrives inside a callback
            kernel.manager.interrupt_kernel()
            with contextlib.suppress(Empty):
                reply = kernel.client.get_shell_msg(timeout=5)
                break
        assert reply["parent_header"]["msg_id"] == message
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert kernel.run("print(x + 1)") == "42" and kernel.manager.is_alive()


@needs_fork
def test_a_restart_gives_a_new_kernel_behind_the_same_sockets_and_a_shutdown_ends_it():
    with running() as kernel:
        first, folder = kernel.pid, Path(kernel.manager.ip).parent
        kernel.run("x = 1")
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=SECONDS)
        assert kernel.run("print('x' in globals())") == "False"
        assert kernel.pid != first and not psutil.pid_exists(first)
        second = kernel.pid
        kernel.manager.shutdown_kernel()
        assert not psutil.pid_exists(second) and not folder.exists()


@needs_fork
@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("import os; os._exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9),
     ("import os; os.abort()", -6)],
    ids=["exits", "is killed", "crashes"],
)  # fmt: skip
def test_a_kernel_that_ends_by_itself_is_reported_dead_with_its_exit_code(code, exit_code):
    with running() as kernel:
        process = kernel.manager.provisioner.process
        kernel.client.execute(code)
        wait_until(lambda: not kernel.manager.is_alive(), "its death is seen", SECONDS)
        assert process.poll() == process.wait() == exit_code
        kernel.manager.restart_kernel(now=True)  # or the new one gets the old one's farewell
        kernel.client.wait_for_ready(timeout=SECONDS)
        assert kernel.is_forked


@needs_fork
def test_what_a_kernel_started_is_killed_with_it():
    with running() as kernel:
        child = int(kernel.run("import subprocess as s; print(s.Popen(['sleep', '600']).pid)"))
    wait_until(lambda: not psutil.pid_exists(child), "the child is gone", SECONDS)


LAST_WORDS = """
import atexit, sys, threading, time, types
from pathlib import Path

class Last:
    def __del__(self, write=Path("object").write_text):  # the name Path may be gone before
        write("gone")

last, circle = Last(), [Last()]
circle.append(circle)
unclosed = open("unclosed", "w")
unclosed.write("what was written")
sys.modules["mine"] = types.ModuleType("mine")
sys.modules["mine"].unclosed = open("of a module", "wb")
sys.modules["mine"].unclosed.write(b"what was written")
atexit.register(Path("registered").touch)
threading.Thread(target=lambda: (time.sleep(0.5), Path("thread").touch())).start()
"""


@needs_fork
def test_what_is_to_happen_at_a_kernels_end_happens(tmp_path, request):
    left = []
    for folder in (tmp_path / "warm", tmp_path / "cold"):
        folder.mkdir()
        if folder.name == "cold":
            request.getfixturevalue("cold")
        with running(cwd=str(folder)) as kernel:
            assert kernel.is_forked == (folder.name == "warm")
            kernel.run(LAST_WORDS)
            process = kernel.manager.provisioner.process
            kernel.manager.shutdown_kernel()
            assert process.poll() == 0
        left.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert left[0] == left[1]
    assert left[0].keys() >= {"object", "unclosed", "of a module", "registered", "thread"}


LATE = """
import threading, time

def make_late(thread):  # in a function, as the notebook's own names are gone at the end
    me, sleep = threading.current_thread, time.sleep
    closed, close, schedule = threading.Event(), thread.io_loop.close, thread.schedule

    def close_slowly(**more):
        close(**more)
        closed.set()
        sleep(0.3)

    def late(f):
        if me().name == "Control":
            closed.wait(0.1)
        schedule(f)

    thread.io_loop.close, thread.schedule = close_slowly, late

make_late(get_ipython().kernel.iopub_thread)
"""


@needs_fork
def test_a_kernel_whose_last_message_is_late_ends_by_itself():
    with running() as kernel:
        kernel.run(LATE)
        process = kernel.manager.provisioner.process
        kernel.manager.shutdown_kernel()
        assert process.poll() == 0, "it was not killed while it waited for itself"


BUSY = "print('on', flush=True)\nwhile True: pass"


@needs_fork
def test_a_launcher_that_dies_takes_its_kernels_along_and_the_next_kernel_starts(plain):
    with running() as kernel:
        pid = kernel.pid
        kernel.client.execute(BUSY)
        kernels._launcher._process.kill()
        wait_until(lambda: not psutil.pid_exists(pid), "the kernel has gone too", SECONDS)
        assert not kernel.manager.is_alive()
    with running() as kernel:
        assert kernel.is_forked and kernel.run("print(6 * 7)") == "42"


CLIENT = f"""
import sys, time
sys.path[:0] = {[str(PROJECT / "tests"), str(Path(__file__).parent)]}
import test_kernels
test_kernels.kernels.use(dict(cells=[]))  # needs no torch
kernel = test_kernels.Kernel()
kernel.client.execute({BUSY!r})
while kernel.client.get_iopub_msg(timeout=60)["content"].get("text") != "on\\n":
    pass
print(kernel.is_forked, flush=True)
time.sleep(600)"""


@needs_fork
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_a_client_that_is_killed_leaves_no_process_and_no_file(tmp_path, how):
    family = Family(tmp_path, TMPDIR=str(tmp_path))
    client = family.start("-c", CLIENT)
    try:
        assert client.stdout.readline() == "True\n", client.stderr.read()
        assert len(family.alive()) == 3, "a client, a launcher and a kernel"
        client.send_signal(how)
        client.communicate()
        wait_until(lambda: not family.alive(), "launcher and kernel have gone too", SECONDS)
        wait_until(lambda: not list(tmp_path.glob("mnist-nb-*")), "and their folder", SECONDS)
    finally:
        family.end()


@needs_fork
def test_a_request_that_cannot_be_met_harms_no_other_kernel():
    with running() as kernel, open(os.devnull, "rb") as null:
        launcher, mine, theirs = kernels._launcher, *socket.socketpair()
        with mine, theirs:  # half a request
            mine.sendall(b"{")
            streams = [null.fileno()] * 3
            socket.send_fds(launcher._client, [b"k"], [*streams, theirs.fileno()])
        launcher._client.send(b"k")  # and one without anything
        with running() as other:
            assert other.is_forked
            # it ends while the launcher is busy, and nobody asks for it any more
            os.kill(launcher._process.pid, signal.SIGSTOP)
            os.kill(other.pid, signal.SIGKILL)
            other.manager.provisioner.process._socket.close()
            os.kill(launcher._process.pid, signal.SIGCONT)
        with running() as other:
            assert other.is_forked
        assert kernel.manager.is_alive() and kernel.run("print(6 * 7)") == "42"


@needs_fork
def test_after_an_installation_the_next_kernel_has_what_is_new(monkeypatch, plain):
    with running() as before:
        old = kernels._launcher._process
        monkeypatch.setattr(launcher_client, "_installed", lambda: [0])
        with running() as after:
            assert after.is_forked and kernels._launcher._process.pid != old.pid
            assert before.run("print(6 * 7)") == after.run("print(6 * 7)") == "42"


@needs_fork
def test_a_notebook_with_torch_finds_it_imported_though_one_without_was_first(monkeypatch):
    monkeypatch.setattr(kernels, "_launcher", None)
    monkeypatch.setattr(kernels, "MODULES", ("mailbox",))  # in the place of torch
    for source, imported in (("1 + 1", False), ("import torch", True), ("1 + 1", True)):
        cell = nbformat.v4.new_code_cell(source)
        kernels.use(nbformat.v4.new_notebook(cells=[cell]))
        with running() as kernel:
            assert kernel.run("import sys; print('mailbox' in sys.modules)") == str(imported)
    kernels._launcher.stop()


# --- one launcher for several processes

NO_TORCH = nbformat.v4.new_notebook()


@pytest.fixture
def host():
    """A launcher for guests, that imports nothing but the kernel."""
    with kernels.shared(NO_TORCH, os.environ) as more:
        yield more[kernels.HOST]


@pytest.fixture
def guests(host, monkeypatch):
    """Two that have that launcher's address, as each worker of a sweep has."""
    two = [kernels.Launcher((), host=host) for _ in range(2)]
    yield two
    for guest in two:
        guest.stop()


PARENT = "import os; print(os.getppid())"


@needs_fork
def test_the_kernels_of_several_guests_have_one_launcher_and_outlive_each_others(
    guests, monkeypatch
):
    with contextlib.ExitStack() as stack:
        parents = []
        for guest in guests:
            monkeypatch.setattr(kernels, "_launcher", guest)
            parents.append((kernel := stack.enter_context(running())).run(PARENT))
            assert kernel.is_forked
        assert len(set(parents)) == 1
        guests[0].stop()
        assert kernel.run("print(6 * 7)") == "42"


@needs_fork
def test_a_guest_with_another_environment_has_a_launcher_of_its_own(guests, monkeypatch):
    with contextlib.ExitStack() as stack:
        parents = []
        for guest, value in zip(guests, "12", strict=True):
            monkeypatch.setenv("ATEN_CPU_CAPABILITY", value)
            monkeypatch.setattr(kernels, "_launcher", guest)
            parents.append((kernel := stack.enter_context(running())).run(PARENT))
            assert kernel.is_forked
        assert len(set(parents)) == 2


@needs_fork
def test_a_guest_whose_host_has_ended_has_a_launcher_of_its_own(monkeypatch):
    with kernels.shared(NO_TORCH, os.environ) as more:
        guest = kernels.Launcher((), host=more[kernels.HOST])
        monkeypatch.setattr(kernels, "_launcher", guest)
        with running() as first:
            parent = first.run(PARENT)
    with running() as kernel:
        assert kernel.is_forked and kernel.run(PARENT) != parent
    guest.stop()
    assert not Path(more[kernels.HOST]).exists() and not Path(guest.folder).exists()


def test_several_threads_of_a_worker_set_up_their_kernels_at_once(plain):
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            launcher = kernels.Launcher(())
            found = list(threads.map(launcher.environment_for, [os.environ] * 8))
            assert all(one == found[0] for one in found)
            launcher.stop()


# --- without a launcher


def test_a_kernel_for_another_environment_than_the_launchers_is_started_afresh():
    kernels.use()  # the launcher has this environment
    for name, forked in (("ATEN_CPU_CAPABILITY", False), ("JPY_SESSION_NAME", True)):
        with running(env=os.environ | {name: "default"}) as kernel:
            assert kernel.is_forked == (forked and sys.platform == "linux")
            assert kernel.run(f"import os; print(os.environ['{name}'])") == "default"


def test_a_relative_path_to_modules_counts_from_where_kernels_are_started(
    tmp_path, monkeypatch, plain
):
    for name in ("here/own", "elsewhere/own"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "mine.py").write_text(f"x = '{name}'")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYTHONPATH", f"{PROJECT}{os.pathsep}own{os.pathsep}")
    with running(cwd=str(tmp_path / "elsewhere")) as kernel:
        assert kernel.run("import mine; print(mine.x)") == "here/own"
        assert kernel.is_forked == (sys.platform == "linux")


def test_in_jupyterlab_a_relative_path_to_modules_counts_from_the_notebooks_folder(
    tmp_path, monkeypatch
):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text("x = 42")
    monkeypatch.setenv("PYTHONPATH", f"{PROJECT}{os.pathsep}own")
    monkeypatch.setattr(kernels, "_launcher", kernels.Launcher((), isolate=False))
    with running(cwd=str(tmp_path)) as kernel:
        assert kernel.run("import mine; print(mine.x)") == "42"
    kernels._launcher.stop()


def test_a_launcher_that_cannot_start_costs_nothing_but_time(monkeypatch):
    broken = kernels.Launcher(())
    monkeypatch.setattr(launcher_client, "SCRIPT", "nowhere/launcher.py")
    monkeypatch.setattr(kernels, "_launcher", broken)
    for _ in range(2):
        with running() as kernel:
            assert not kernel.is_forked and kernel.run("print(6 * 7)") == "42"
    broken.stop()


def test_a_variable_switches_the_launcher_off(monkeypatch):
    monkeypatch.setenv("MNIST_NB_WARM", "0")
    monkeypatch.setattr(kernels, "_launcher", kernels.Launcher(()))
    with running() as kernel:
        assert not kernel.is_forked and kernel.manager.transport == "ipc"
    kernels._launcher.stop()


def test_where_the_path_of_a_socket_would_be_too_long_there_are_ports(monkeypatch, tmp_path):
    room = tmp_path / ("a" * 90)
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    monkeypatch.setattr(kernels, "_launcher", kernels.Launcher(()))
    with running() as kernel:
        assert kernel.manager.transport == "tcp" and kernel.run("print(6 * 7)") == "42"
    kernels._launcher.stop()


def test_a_kernel_of_nbval_needs_no_port(tmp_path):
    cell = "from ipykernel.connect import get_connection_info as it\n"
    cell += "assert it(unpack=True)['transport'] == 'ipc'"
    path = small_notebook(tmp_path / "n.ipynb", cell)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].execution_count = 1
    path.write_text(serialised(notebook))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", PROJECT / "pyproject.toml", "--rootdir", tmp_path,
         "-p", "no:cacheprovider", path],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout
