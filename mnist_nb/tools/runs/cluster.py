"""Who does the runs of a sweep: Dask's workers, made here or found at an address."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping

from mnist_nb.tools import kernels
from mnist_nb.tools.endings import later, leave_to_parent
from mnist_nb.tools.runs.plans import SweepError
from mnist_nb.tools.runs.work import no_room, reason

ANSWERS_WITHIN = 10  # seconds that a scheduler has
ROUTES = "distributed.scheduler.http.routes", "distributed.worker.http.routes"


def cores() -> int:
    """How many processes can compute side by side here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@contextlib.contextmanager
def cluster(scheduler: str | None, runs: int = 1, notebook: Mapping | None = None) -> Iterator:
    """A Dask client of the cluster at the address, or of one made here for that many runs.

    The one made here has at most a process per core, listens on loopback, and speaks only
    with who has its own fresh keys. One launcher serves its workers with kernels for `notebook`.

    Raises:
        SweepError: nothing answers at the address.
    """
    import dask
    from distributed import Client, LocalCluster, Security
    from distributed.utils import silence_logging_cmgr

    if scheduler:
        # In two steps, so that we can close one that fails to start. The garbage collector would
        # close it too, but if that happens while another one starts, both wait forever.
        client = Client.__new__(Client)
        try:
            client.__init__(scheduler, timeout=ANSWERS_WITHIN)
        except (OSError, ValueError, TypeError, ImportError) as error:
            client.close()
            raise SweepError(f"no Dask scheduler answers at {scheduler} ({error})") from error
        with silence_logging_cmgr("CRITICAL"), client:
            yield client
        return
    scratch = tempfile.mkdtemp(prefix="mnist-nb-dask-")
    try:
        with contextlib.ExitStack() as stack:
            theirs = dask.config.get("distributed.nanny.pre-spawn-environ").items()
            theirs = {name: os.environ.get(name, str(value)) for name, value in theirs}
            guests = stack.enter_context(kernels.shared(notebook, os.environ | theirs))
            # no page that anyone could open, and no signal that is meant for us
            with dask.config.set({key: [] for key in ROUTES}), later():
                local = LocalCluster(
                    n_workers=min(cores(), runs), threads_per_worker=1, memory_limit=0,
                    host="127.0.0.1", dashboard_address="127.0.0.1:0", local_directory=scratch,
                    silence_logs="CRITICAL", security=Security.temporary(), env=guests,
                )  # fmt: skip
                client = stack.enter_context(Client(stack.enter_context(local)))
                client.run(leave_to_parent)
            yield client
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_workers(client, folder: str, mark: str) -> None:
    """Raise a SweepError if a worker cannot write where the results go."""
    try:
        answers = client.run(no_room, folder, 0, mark, on_error="return").values()
    except Exception as error:  # of Dask
        raise SweepError(f"the cluster's workers do not answer ({reason(error)})") from error
    whys = [reason(a) if isinstance(a, BaseException) else a for a in answers if a]
    if whys:
        raise SweepError(
            f"{len(whys)} of {len(answers)} workers cannot store results: "
            f"{'; '.join(dict.fromkeys(whys))} (nothing was run); give -o a folder that all of "
            "them share with this machine, or an address like s3://..."
        )
