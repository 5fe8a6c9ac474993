"""Extend nbval's pytest plugin, so that notebooks are checked reliably.

pyproject.toml switches it on with `-p mnist_nb.tools.verify.plugin`; installing it does not. It
adds the comparison of `comparison.py`, and:

- The cells of a notebook run in order and in one process, even if tests are selected, shuffled or
  distributed to workers. Before a single cell, all cells above it run.
- Kernels start without the user's personal settings.
- A kernel that dies when it starts is started once more. A kernel that dies later, or a cell that
  takes too long, is reported once; the cells below fail with one line each.
"""

import re
import tempfile
import time
from queue import Empty

import nbval.plugin
import pytest
from jupyter_client.manager import KernelManager
from nbval.kernel import NbvalKernelspecManager, RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from mnist_nb.tools import kernels
from mnist_nb.tools.verify import comparison

LAST_LINES = 20  # of a dead kernel's standard error: room for a traceback
OUTPUT_TIMEOUT = 60  # seconds; on a busy machine, nbval's 5 are too few


class NotRun(Exception):
    """A cell could not run; pytest reports this message only."""


class KernelDied(NotRun):
    """The kernel has ended; the message has the last lines of its standard error."""


class Kernel(RunningKernel):
    """Run a kernel like nbval's, but notice at once when it has died."""

    def __init__(self, kernel_name: str, cwd: str | None = None, startup_timeout: float = 60):
        """Start the kernel; raise KernelDied if it does not answer."""
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115, closed by stop
        self.km = KernelManager(
            kernel_name=kernel_name, kernel_spec_manager=NbvalKernelspecManager()
        )
        self.kc = None
        try:
            self.km.start_kernel(stderr=self.stderr, cwd=cwd)
            self.kc = self.km.client()
            self.kc.start_channels()
            self.kc.wait_for_ready(timeout=startup_timeout)
            self._ensure_iopub_up()
        except Exception as error:
            died = KernelDied(f"{error}. {self.stderr_tail()}")
            self.stop()
            raise died from error

    def stderr_tail(self) -> str:
        """Return the last lines of the kernel's standard error, with an introduction."""
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join(["Its last lines on stderr:", *lines]) if lines else "It left no stderr."

    def get_message(self, stream, timeout=None):
        """Return the next message; raise Empty after `timeout` seconds, or KernelDied."""
        end = time.monotonic() + timeout
        while True:
            alive = self.is_alive()  # checked first, to read messages that came before its death
            left = end - time.monotonic()
            try:
                return super().get_message(stream, timeout=max(0, min(1, left)))
            except Empty:
                if not alive:
                    raise KernelDied(
                        f"The kernel died in this cell. {self.stderr_tail()}"
                    ) from None
                if left <= 1:
                    raise

    def stop(self) -> None:
        """Stop the kernel and close its channels and files."""
        if self.kc is not None:
            self.kc.stop_channels()
        if hasattr(self, "km"):
            if self.km.has_kernel:
                self.km.shutdown_kernel(now=True)
            del self.km  # nbval takes this as a sign that it has ended
        self.stderr.close()


nbval.plugin.RunningKernel = Kernel  # nbval has no option for this


class Notebook(IPyNbFile):
    """Collect a notebook, and run its cells in order, each once, whichever are selected."""

    next_cell = 0  # number of the first cell that the kernel has not run
    failure = ""  # why no further cell can run

    def collect(self):
        """Return all code cells; raise CollectError if the file is not a notebook."""
        try:
            self.cells = list(super().collect())
        except Exception as error:  # nbformat raises many kinds
            why = " ".join(str(error).split())
            raise self.CollectError(
                f"{self.path} is not a notebook that can be read: {why}"
            ) from None
        return self.cells

    def setup(self) -> None:
        """Start a kernel; if it dies, start another one."""
        self.next_cell = 0
        kernels.use(self.nb)
        for _ in range(2):
            try:
                return super().setup()
            except KernelDied as error:
                self.died = error

    def teardown(self) -> None:
        """Stop the kernel."""
        if self.kernel is not None:
            if self.kernel.is_alive():
                super().teardown()
            else:
                self.kernel.stop()
            self.kernel = None

    def run_cells_before(self, cell: IPyNbCell) -> None:
        """Run the cells before `cell` that have not run yet; raise NotRun if one fails."""
        if self.kernel is not None and cell.cell_num < self.next_cell:  # it has run already
            self.teardown()
            self.setup()
        if self.failure:
            raise NotRun(self.failure)
        if self.kernel is None:
            self.failure = (
                f"This cell did not run, because the kernel did not start; see {cell.name}."
            )
            raise NotRun(f"The kernel failed to start twice. {self.died}")
        for earlier in self.cells[self.next_cell : cell.cell_num]:
            self.run_unchecked(earlier)

    def run_unchecked(self, cell: IPyNbCell) -> None:
        """Run a cell without comparing its outputs; raise NotRun if it fails."""
        self.next_cell = cell.cell_num + 1
        if cell.options["skip"]:
            return
        check, cell.options["check"] = cell.options["check"], False
        try:
            IPyNbCell.runtest(cell)
        except (NbCellError, KernelDied) as error:
            self.failure = f"This cell did not run, because {cell.name}, above it, failed"
            traceback = getattr(error, "inner_traceback", None) or str(error)
            why = re.sub(r"\x1b\[[0-9;]*m", "", traceback).strip().splitlines()[-1]
            raise NotRun(f"{self.failure} ({why}).") from error
        finally:
            cell.options["check"] = check


def pytest_addoption(parser) -> None:
    """Add the setting `longest_first`, a list of test files."""
    parser.addini("longest_first", "with -n: test files that start before all others", "linelist")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Replace nbval's collector of notebooks by ours."""
    return [
        Notebook.from_parent(found.parent, path=found.path) if type(found) is IPyNbFile else found
        for found in (yield)
    ]


def pytest_itemcollected(item) -> None:
    """Add our comparison to the cells of notebooks, and a longer timeout."""
    if isinstance(item, IPyNbCell):
        comparison.compare_more(item)
        item.output_timeout = OUTPUT_TIMEOUT


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session) -> None:
    """Bring each notebook's cells together, in order, after other plugins have moved tests."""
    first = {}  # notebook -> position of the first of its cells

    def place(numbered) -> tuple[int, int]:
        number, item = numbered
        if not isinstance(item, IPyNbCell):
            return number, 0
        return first.setdefault(item.parent, number), item.cell_num

    session.items[:] = [item for _, item in sorted(enumerate(session.items), key=place)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Run a cell after those above it, and note a failure that affects those below."""
    if not isinstance(item, IPyNbCell):
        return (yield)
    notebook = item.parent
    notebook.run_cells_before(item)
    notebook.next_cell = item.cell_num + 1
    try:
        return (yield)
    except KernelDied:
        notebook.failure = f"This cell did not run, because the kernel died in {item.name}."
        raise
    finally:
        if notebook.timed_out:
            notebook.timed_out = False  # nbval would mark all later cells as expected failures
            notebook.failure = f"This cell did not run, because {item.name} took too long."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Report a cell that did not run with its message only, without a traceback."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, NotRun):
        report.longrepr = str(call.excinfo.value)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Distribute whole files to the workers, except with `--dist each` or `--dist loadscope`."""
    if config.getoption("dist") in ("each", "loadscope"):
        return None  # they keep the cells of a notebook together
    from xdist.scheduler import LoadFileScheduling

    first = config.getini("longest_first")

    class LongestFirst(LoadFileScheduling):
        """Distribute the files named in `longest_first` before all others."""

        def _assign_work_unit(self, node) -> None:
            def rank(file: str) -> int:
                return first.index(file) if file in first else len(first)

            self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
            super()._assign_work_unit(node)

    return LongestFirst(config, log)
