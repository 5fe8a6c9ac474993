"""The pytest plugin: nbval, made to hold however pytest is called.

This project's settings switch it on (`-p mnist_nb.tools.verify.plugin` in pyproject.toml); being
installed does not. Beyond the comparison of `mnist_nb.tools.verify.comparison`:

- The cells of a notebook run in order and in one process, whatever else is chosen, shuffled or
  dealt to workers. A cell tried alone has all cells before it run first.
- People's own settings do not reach the kernels.
- A kernel that dies at its start is started again once. One that dies again, or later, and a cell
  that takes too long, are told once; the cells after it fail with one line each.
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

LAST_LINES = 20  # of what a kernel wrote before it died: an exception and where it came from
OUTPUT_TIMEOUT = 60  # seconds; a machine that is busy needs more than nbval's 5


class NotTried(Exception):
    """A cell could not be tried; the sentence is all that is to be reported."""


class KernelDied(NotTried):
    """The kernel is not there any more; says its last words."""


class Kernel(RunningKernel):
    """A kernel with settings of its own, which is missed as soon as it has died."""

    def __init__(self, kernel_name: str, cwd: str | None = None, startup_timeout: float = 60):
        """Start it. Raises KernelDied if it does not answer."""
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
            died = KernelDied(f"{error}. {self.last_words()}")
            self.stop()
            raise died from error

    def last_words(self) -> str:
        """Return what it wrote to its standard error at the end, as a sentence."""
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join(["Its last words:", *lines]) if lines else "It left no word why."

    def get_message(self, stream, timeout=None):
        """Return the next message. Raises Empty after `timeout` seconds, or KernelDied."""
        end = time.monotonic() + timeout
        while True:
            alive = self.is_alive()  # asked first: what it said before it died counts
            left = end - time.monotonic()
            try:
                return super().get_message(stream, timeout=max(0, min(1, left)))
            except Empty:
                if not alive:
                    raise KernelDied(
                        f"The kernel died in this cell. {self.last_words()}"
                    ) from None
                if left <= 1:
                    raise

    def stop(self) -> None:
        """Stop it and remove what is left of it."""
        if self.kc is not None:
            self.kc.stop_channels()
        if hasattr(self, "km"):
            if self.km.has_kernel:
                self.km.shutdown_kernel(now=True)
            del self.km  # as nbval does: no longer alive
        self.stderr.close()


nbval.plugin.RunningKernel = Kernel  # nbval has no option for it


class Notebook(IPyNbFile):
    """A notebook whose cells run in order, each once, whichever of them are to be tried."""

    reached = 0  # the first cell that the kernel has not run
    trouble = ""  # why no cell can be tried any more

    def collect(self):
        """Return all code cells, each with its comparison. Raises CollectError if it is none."""
        try:
            self.cells = list(super().collect())
        except Exception as error:  # nbformat raises many kinds
            why = " ".join(str(error).split())
            raise self.CollectError(
                f"{self.path} is no notebook that can be read: {why}"
            ) from None
        return self.cells

    def setup(self) -> None:
        """Start a kernel, again if it dies."""
        self.reached = 0
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

    def bring_to(self, cell: IPyNbCell) -> None:
        """Run what comes before `cell` and has not run. Raises NotTried where that is no good."""
        if self.kernel is not None and cell.cell_num < self.reached:  # asked for out of order
            self.teardown()
            self.setup()
        if self.trouble:
            raise NotTried(self.trouble)
        if self.kernel is None:
            self.trouble = (
                f"This cell did not run, because the kernel did not start; see {cell.name}."
            )
            raise NotTried(f"The kernel was started twice, and failed both times. {self.died}")
        for earlier in self.cells[self.reached : cell.cell_num]:
            self.run_unseen(earlier)

    def run_unseen(self, cell: IPyNbCell) -> None:
        """Run a cell that is not to be tried itself. Raises NotTried if it fails."""
        self.reached = cell.cell_num + 1
        if cell.options["skip"]:
            return
        check, cell.options["check"] = cell.options["check"], False
        try:
            IPyNbCell.runtest(cell)
        except (NbCellError, KernelDied) as error:
            self.trouble = f"This cell did not run, because {cell.name} before it failed"
            traceback = getattr(error, "inner_traceback", None) or str(error)
            why = re.sub(r"\x1b\[[0-9;]*m", "", traceback).strip().splitlines()[-1]
            raise NotTried(f"{self.trouble} ({why}).") from error
        finally:
            cell.options["check"] = check


def pytest_addoption(parser) -> None:
    """Let the project's settings name the files that take longest."""
    parser.addini("longest_first", "with -n: test files that start before all others", "linelist")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Put our notebooks in the place of nbval's."""
    return [
        Notebook.from_parent(found.parent, path=found.path) if type(found) is IPyNbFile else found
        for found in (yield)
    ]


def pytest_itemcollected(item) -> None:
    """Give the cells of notebooks their comparison, and more patience."""
    if isinstance(item, IPyNbCell):
        comparison.compare_more(item)
        item.output_timeout = OUTPUT_TIMEOUT


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session) -> None:
    """Put the cells of each notebook together and in order, after all who shuffle."""
    first = {}  # of each notebook, where the first of its cells came

    def place(numbered) -> tuple[int, int]:
        number, item = numbered
        if not isinstance(item, IPyNbCell):
            return number, 0
        return first.setdefault(item.parent, number), item.cell_num

    session.items[:] = [item for _, item in sorted(enumerate(session.items), key=place)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Run a cell in its place, and remember what it leaves for the others."""
    if not isinstance(item, IPyNbCell):
        return (yield)
    notebook = item.parent
    notebook.bring_to(item)
    notebook.reached = item.cell_num + 1
    try:
        return (yield)
    except KernelDied:
        notebook.trouble = f"This cell did not run, because the kernel died in {item.name}."
        raise
    finally:
        if notebook.timed_out:
            notebook.timed_out = False  # nbval would expect all other cells to fail, and let them
            notebook.trouble = f"This cell did not run, because {item.name} took too long."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Report a cell that was not tried with its sentence alone."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, NotTried):
        report.longrepr = str(call.excinfo.value)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Deal out whole files, whatever way of dealing out single tests is asked for."""
    if config.getoption("dist") in ("each", "loadscope"):
        return None  # they keep the cells of a notebook together
    from xdist.scheduler import LoadFileScheduling

    first = config.getini("longest_first")

    class LongestFirst(LoadFileScheduling):
        """Deals out the files named in the settings before all others."""

        def _assign_work_unit(self, node) -> None:
            def rank(file: str) -> int:
                return first.index(file) if file in first else len(first)

            self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
            super()._assign_work_unit(node)

    return LongestFirst(config, log)
