"""Start a local Dask cluster for a sweep or for `verify`, or connect to an existing one.

`sweep.carry_out` and `verify.records.verify_all` are the callers.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping

from mnist_nb.tools import kernels
from mnist_nb.tools.endings import block_stop_signals, leave_stopping_to_parent
from mnist_nb.tools.runs.places import reason
from mnist_nb.tools.runs.plans import RunsFailed, SweepError
from mnist_nb.tools.runs.work import write_error

CONNECT_TIMEOUT = 10  # seconds
# No dashboard that anyone could open, and no profiles, which take 0.1 MB of memory per second.
# Long time limits, as workers on this very machine are not lost if they answer late: it may be
# very busy, or asleep.
CONFIG = {
    "distributed.comm.timeouts.connect": "5 minutes",
    "distributed.comm.timeouts.tcp": "1 hour",
    "distributed.scheduler.worker-ttl": None,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
}


def cores() -> int:
    """Return how many processes can compute at the same time on this machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cards() -> tuple[str, ...]:
    """Return the names of this machine's graphics cards, as CUDA_VISIBLE_DEVICES has them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip())
    import torch  # slow to import, so only where it is needed

    return tuple(map(str, range(torch.cuda.device_count())))


@contextlib.contextmanager
def cluster(
    scheduler: str | None, jobs: int | None = None, runs: int = 1, notebook: Mapping | None = None
) -> Iterator:
    """Yield a Dask client of the cluster at `scheduler`, or of a new local one for `runs` runs.

    A local cluster has at most `jobs` workers, or one per core, listens on 127.0.0.1 and uses new
    TLS keys. Its workers share one launcher of kernels for `notebook`.

    Raises:
        SweepError: no scheduler answers at the address.
    """
    import dask
    from distributed import Client, LocalCluster, Security
    from distributed.utils import silence_logging_cmgr

    if scheduler:
        # Two steps, so that we can close a client that fails to start. If the garbage collector
        # closed it while another client starts, both would wait forever.
        client = Client.__new__(Client)
        try:
            client.__init__(scheduler, timeout=CONNECT_TIMEOUT)
        except (OSError, ValueError, TypeError, ImportError) as error:
            client.close()
            said = f"no Dask scheduler answers at {scheduler} ({error}); correct --scheduler"
            raise SweepError(said) from error
        with silence_logging_cmgr("CRITICAL"), client:
            yield client
        return
    scratch = tempfile.mkdtemp(prefix="mnist-nb-dask-")
    try:
        with contextlib.ExitStack() as stack:
            theirs = dask.config.get("distributed.nanny.pre-spawn-environ").items()
            theirs = {name: os.environ.get(name, str(value)) for name, value in theirs}
            guests = stack.enter_context(kernels.shared(notebook, os.environ | theirs))
            with dask.config.set(CONFIG), block_stop_signals():  # signals reach only this process
                local = LocalCluster(
                    n_workers=min(jobs or cores(), runs), threads_per_worker=1, memory_limit=0,
                    host="127.0.0.1", dashboard_address="127.0.0.1:0", local_directory=scratch,
                    silence_logs="CRITICAL", security=Security.temporary(), env=guests,
                )  # fmt: skip
                client = stack.enter_context(Client(stack.enter_context(local)))
                client.run(leave_stopping_to_parent)
            yield client
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_workers(client, folder: str, mark: str) -> None:
    """Raise a SweepError if a worker cannot write into `folder` or does not share it.

    `mark` is a file that this machine has written there; "" skips that check.
    """
    try:
        answers = client.run(write_error, folder, 0, mark, on_error="return").values()
    except Exception as error:  # Dask raises many kinds
        raise SweepError(f"the cluster's workers do not answer ({reason(error)}); check that they "
                         "run, then give the same command again") from error  # fmt: skip
    broken = [reason(a) for a in answers if isinstance(a, BaseException)]
    if broken:
        raise SweepError(
            f"{len(broken)} of {len(answers)} workers cannot run this project's code: "
            f"{'; '.join(dict.fromkeys(broken))} (nothing was run); install the environment of "
            "this machine there"
        )
    whys = [answer for answer in answers if answer]
    if whys:
        raise SweepError(
            f"{len(whys)} of {len(answers)} workers cannot store results: "
            f"{'; '.join(dict.fromkeys(whys))} (nothing was run); with -o, name a folder that "
            "they all share with this machine, or an address like s3://..."
        )


@contextlib.contextmanager
def scheduler_lives(client, progress) -> Iterator[None]:
    """Turn errors of the `with` block into a RunsFailed if the scheduler is gone."""
    from distributed.client import FutureCancelledError, FuturesCancelledError

    try:
        yield
        lost = None
    except (FutureCancelledError, FuturesCancelledError) as error:  # we cancel only at the end
        lost = error
    except Exception as error:  # Dask raises many kinds
        lost = error
        if client.status == "running" and not isinstance(error, OSError):  # a lost connection
            raise
    if lost or client.status != "running":
        raise RunsFailed(f"Dask's scheduler is gone; {progress.so_far()}") from lost
