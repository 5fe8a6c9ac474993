"""Register a papermill engine that saves the notebook at most once a second.

Papermill's engine saves twice per cell, which takes as long as a short cell; `run.execute` uses
this one instead. It also asks the kernel, before that ends, what it has computed with.
"""

import time

from papermill import engines
from papermill.clientwrap import PapermillNotebookClient

from mnist_nb.tools.runs.machine import answered, ask

NAME = "mnist-nb"
PAUSE = 1.0  # seconds between saves


class _Client(PapermillNotebookClient):
    def papermill_execute_cells(self) -> None:
        """Execute the cells, then note what the kernel says of itself."""
        super().papermill_execute_cells()
        question = {"it": ask(self.nb)}
        asked = self.kc.execute("", silent=True, user_expressions=question)
        self.nb.metadata["mnist_nb"] = answered(self.wait_for_reply(asked) or {})


class _Engine(engines.NBClientEngine):
    @classmethod
    def execute_managed_notebook(
        cls, nb_man, kernel_name, start_timeout=60, execution_timeout=None, **options
    ) -> None:
        save, saved = nb_man.save, time.monotonic()

        def save_if_due(**more) -> None:
            nonlocal saved
            if time.monotonic() - saved >= PAUSE:
                save(**more)
                saved = time.monotonic()

        nb_man.save = save_if_due
        options.pop("input_path", None)
        try:
            _Client(
                nb_man, kernel_name=kernel_name, startup_timeout=start_timeout,
                timeout=execution_timeout, **options,
            ).execute()  # fmt: skip
        finally:
            nb_man.save = save  # the last save is never skipped


engines.papermill_engines.register(NAME, _Engine)
