"""Register a papermill engine that saves the notebook at most once a second, or less often.

Papermill's engine saves twice per cell, which takes as long as a short cell; `run.execute` uses
this one instead. It ends a run that its `Watch` wants to end, and asks the kernel, before that
ends, what it has computed with.
"""

import contextlib
import os
import signal
import time

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from papermill import engines
from papermill.clientwrap import PapermillNotebookClient

from mnist_nb.tools.runs.machine import answered, ask
from mnist_nb.tools.runs.watch import Watch

NAME = "mnist-nb"
PAUSE, LONGEST = 1.0, 10.0  # seconds between saves, at least and at most
SHARE = 50  # in between, this many times the seconds that a save takes
ENDED = "Ended"  # names the error in a cell whose run was ended
_OUTPUTS = ("stream", "display_data", "execute_result", "clear_output")


class _Client(PapermillNotebookClient):
    watch = Watch()
    cell = None  # the one that is executed

    def papermill_execute_cells(self) -> None:
        """Execute the cells, then note what the kernel says of itself."""
        self.watch.began, self.watch.begun = time.monotonic(), True
        self.timeout_func = lambda cell: self.watch.left()
        super().papermill_execute_cells()
        question = {"it": ask(self.nb)}
        asked = self.kc.execute("", silent=True, user_expressions=question)
        self.nb.metadata["mnist_nb"] = answered(self.wait_for_reply(asked) or {})

    def execute_cell(self, cell, cell_index: int, **more):
        """Execute a cell, unless the run was ended before."""
        self.cell = cell
        if self.watch.ended:
            raise DeadKernelError("Kernel died")
        try:
            return super().execute_cell(cell, cell_index, **more)
        except CellTimeoutError:
            if self.watch.seconds is None:  # the cell's last output did not come in time
                raise
            self.watch.time_is_up()
            raise

    def process_message(self, msg: dict, cell, cell_index: int):
        """Process a message of the kernel; output after the end of the run is dropped."""
        kind = msg["msg_type"]
        if kind in _OUTPUTS:
            if self.watch.ended:
                return None
            self.watch.shorten(kind, msg["content"], cell_index)
        if kind == "stream":
            self.watch.pass_on(msg["content"]["text"])
        return super().process_message(msg, cell, cell_index)


def _kill(pid: int) -> None:
    """Kill a kernel and what it has started."""
    hard = getattr(signal, "SIGKILL", signal.SIGTERM)  # the second on Windows
    for kill in (getattr(os, "killpg", os.kill), os.kill):
        with contextlib.suppress(OSError):  # it has no group yet, or has ended
            kill(pid, hard)


class _Engine(engines.NBClientEngine):
    @classmethod
    def execute_managed_notebook(
        cls, nb_man, kernel_name, start_timeout=60, execution_timeout=None, watch=None,
        folder=None, **options,
    ) -> None:  # fmt: skip
        save, due = nb_man.save, time.monotonic() + PAUSE

        def save_if_due(**more) -> None:
            nonlocal due
            if (began := time.monotonic()) >= due:
                save(**more)
                ended = time.monotonic()
                due = ended + min(max(PAUSE, SHARE * (ended - began)), LONGEST)

        nb_man.save = save_if_due
        options.pop("input_path", None)
        client = _Client(
            nb_man, kernel_name=kernel_name, startup_timeout=start_timeout,
            timeout=execution_timeout, **options,
        )  # fmt: skip
        client.watch = watch or Watch()
        client.watch.kill = lambda: _kill(client.km.provisioner.pid)
        try:
            client.execute(**({"cwd": folder} if folder else {}))
        except (DeadKernelError, CellTimeoutError):
            if not client.watch.ended:
                raise
            said = new_output("error", ename=ENDED, evalue=client.watch.ended, traceback=[])
            client.cell.outputs.append(said)  # papermill then names the cell, and stores all
            nb_man.cell_exception(client.cell)
        finally:
            nb_man.save = save  # the last save is never skipped


engines.papermill_engines.register(NAME, _Engine)
