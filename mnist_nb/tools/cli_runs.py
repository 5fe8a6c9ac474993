"""Define the commands that run notebooks: run and sweep. `cli` adds them to the command line."""

import contextlib
import os
from collections import Counter
from pathlib import Path

import click

from mnist_nb.errors import ParameterError
from mnist_nb.tools.cli_authors import PATH
from mnist_nb.tools.cli_completion import Command, parameter
from mnist_nb.tools.endings import stop_like_ctrl_c
from mnist_nb.tools.project import WALKTHROUGH

ASK_ABOVE = 100  # ask before starting a sweep of more runs
CHECK_ABOVE = 10_000  # ask before checking more runs, which takes over a second
MAX_NAMED = 20  # failed runs that a message lists by name


def _parameters(*names: str, metavar: str, help: str):
    """Return a repeatable option that takes the name of a parameter, and a value or values."""
    return click.option(
        *names, nargs=2, multiple=True, metavar=metavar, shell_complete=parameter,
        help=f"{help}  [repeatable]",
    )  # fmt: skip


insist_option = click.option(
    "--insist", is_flag=True, help="Give a parameter even if no cell seems to read it."
)
cwd_option = click.option(
    "--cwd", type=PATH, metavar="FOLDER",
    help="Working folder.  [default: a new one for each run, beside its record]",
)  # fmt: skip
timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    help="End a run that takes longer.",
)  # fmt: skip
kernel_option = click.option(
    "--kernel", metavar="NAME",
    help="Run with this kernel.  [default: the notebook's; if it is in Python, the Python that "
    "runs this command]",
)  # fmt: skip


@click.command(cls=Command)
@click.argument("notebook", type=PATH, required=False)
@_parameters("-p", "--parameter", "given", metavar="NAME VALUE",
             help="Give the parameter NAME this VALUE; a list is '[1, 2]'.")  # fmt: skip
@click.option("-o", "--output", default="runs", show_default=True, metavar="FOLDER",
              help="Folder for the executed notebook, or an address like s3://...")  # fmt: skip
@cwd_option
@kernel_option
@timeout_option
@insist_option
@stop_like_ctrl_c()
def run(
    notebook: Path | None, given, output: str, cwd: Path | None, kernel: str | None,
    timeout: float | None, insist: bool,
) -> None:  # fmt: skip
    """Run NOTEBOOK with parameters. Without NOTEBOOK, run the walkthrough."""
    from mnist_nb.tools.runs.places import is_address
    from mnist_nb.tools.runs.results import read_record
    from mnist_nb.tools.runs.run import run

    folder, values = output if is_address(output) else Path(output), _without_duplicates(given)
    path = run(notebook or WALKTHROUGH, values, folder, False, insist, cwd, timeout, kernel)
    with contextlib.suppress(ValueError):  # not one of our notebooks: it leaves no record
        click.echo(f"\n{_per_epoch(read_record(path)['history'])}")
    click.echo(f"\nThe executed notebook: {path}")
    if not (cwd or is_address(output)) and (files := path.with_suffix("")).is_dir():
        click.echo(f"The files that it wrote: {files}")


def _per_epoch(history: list[dict]) -> str:
    """Return a record's numbers as text, a line per epoch."""
    names = list(dict.fromkeys(name for row in history for name in row if name != "epoch"))
    lines = ["epoch" + "".join(f"   {name:>12}" for name in names)]
    for row in history:
        numbers = [float("nan") if row.get(name) is None else row[name] for name in names]
        cells = [f"   {n:{max(12, len(name))}.4f}" for n, name in zip(numbers, names, strict=True)]
        lines.append(f"{row['epoch']:5}{''.join(cells)}")
    return "\n".join(lines)


def _without_duplicates(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return `pairs` as a dictionary; raise ParameterError if a name is given twice."""
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise ParameterError(
                f"{name!r} is given twice, as {given[name]!r} and {value!r}; give it once"
            )
        given[name] = value
    return given


@click.command(cls=Command)
@click.argument("notebook", type=PATH, required=False)
@_parameters("-g", "--grid", "grid", metavar="NAME VALUES",
             help="Run all combinations of VALUES: 0.1,1 or 0:10 (which is 0 to 9) or lists, "
             "'[1,2],[3]'.")  # fmt: skip
@_parameters("-p", "--parameter", "fixed", metavar="NAME VALUE",
             help="Give the parameter NAME this VALUE in all runs.")  # fmt: skip
@click.option("-f", "--file", "file", type=PATH,
              help="YAML file that describes the runs, like those in studies/experiments/; its "
              "parts are parameters, grid, zip, runs, exclude and include.")  # fmt: skip
@click.option("-o", "--output", default="runs", show_default=True, metavar="FOLDER",
              help="Folder for the executed notebooks, or an address like s3://...")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS",
              help="Address of a Dask scheduler, tcp://...  [default: local, one "
              "worker per core]")  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help=f"Do not ask before more than {ASK_ABOVE} runs.")
@click.option("--force", is_flag=True, help="Do finished runs again, too; their records are kept.")
@click.option("--dry-run", is_flag=True, help="List the runs, and start none.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N",
              help="Runs at the same time on this machine.  [default: one per core]")  # fmt: skip
@click.option("--per-gpu", type=click.IntRange(min=1), metavar="N",
              help="Runs at the same time on each graphics card of this machine.")  # fmt: skip
@click.option("--retries", type=click.IntRange(min=0), default=0, metavar="N",
              help="Try a run that fails up to N more times.")  # fmt: skip
@cwd_option
@kernel_option
@timeout_option
@insist_option
@stop_like_ctrl_c()
def sweep(
    notebook, grid, fixed, file, output: str, scheduler: str | None, yes: bool, force: bool,
    dry_run: bool, jobs: int | None, per_gpu: int | None, retries: int, cwd: Path | None,
    kernel: str | None, timeout: float | None, insist: bool,
) -> None:  # fmt: skip
    """Run NOTEBOOK (default: the walkthrough) many times, with different parameters.

    All runs are checked before the first one starts. To resume an interrupted sweep, give the
    same command again: finished runs are skipped.
    """
    from mnist_nb.tools.runs.cluster import cards, cores
    from mnist_nb.tools.runs.plans import RunsFailed, SweepError, count, read_plan
    from mnist_nb.tools.runs.progress import duration
    from mnist_nb.tools.runs.sweep import How, carry_out, prepare

    name = "--jobs" if jobs else "--per-gpu"
    if scheduler and (jobs or per_gpu):
        raise SweepError(f"{name} counts runs on this machine, and a cluster has as many as its "
                         f"workers have threads; leave out {name} or --scheduler")  # fmt: skip
    if jobs and per_gpu:
        raise SweepError("--jobs and --per-gpu both say how many runs there are at the same time; "
                         "leave out one of them")  # fmt: skip
    gpus = cards() if per_gpu else ()
    if per_gpu and not gpus:
        raise SweepError("--per-gpu needs a graphics card that torch can use, and there is none "
                         "here; leave it out")  # fmt: skip
    jobs = per_gpu * len(gpus) if per_gpu else jobs
    if cwd and not scheduler and not cwd.is_dir():
        raise SweepError(f"there is no folder {cwd} to run in; correct --cwd")
    plan = read_plan(file) if file else {}
    for part, pairs in (("grid", grid), ("parameters", fixed)):
        plan[part] = {**plan.get(part, {}), **_without_duplicates(pairs)}
    path = notebook or WALKTHROUGH
    if (number := count(plan)) > CHECK_ABOVE:
        click.echo(f"{number:,} runs of {path.name}, before exclusions")
        _ask(f"Check {number:,} runs and start those not excluded?", yes or dry_run)
    prepared = prepare(path, plan, output, again=force, look_only=dry_run, insist=insist,
                       elsewhere=bool(scheduler), kernel=kernel)  # fmt: skip
    runs, left, seconds = len(prepared.runs), len(prepared.left), prepared.seconds
    seconds = seconds and seconds * cores() / min(jobs or cores(), cores())
    basis = "going by the finished runs" if left < runs else "on an idle machine like this"
    time = f", about {duration(seconds)} {basis}" if seconds else ""
    click.echo(f"{runs} run{'s' * (runs != 1)} of {path.name} into {output}: "
               f"{runs - left} finished before, {left} to do{time}")  # fmt: skip
    older = Counter(place.older for place in prepared.places.values() if place.older)
    for why, again in older.items():
        click.echo(f"to do again: {again}, older records are kept ({why})")
    if dry_run:
        _list(prepared)
        return
    if left > ASK_ABOVE:
        _ask(f"Start {left} runs?", yes)
    how = How(cwd and str(cwd.absolute()), timeout, kernel, gpus)
    ends = carry_out(prepared, scheduler, False, jobs, retries, how) if left else ()
    wrong: dict[str, list[str]] = {}
    for name, outcome in ends:
        if outcome.state != "finished":
            wrong.setdefault(outcome.state, []).append(name)
    finished = runs - sum(map(len, wrong.values()))
    click.echo(f"{finished} of {runs} runs are finished; to see them: mnist-nb results {output}")
    if wrong:
        said = [f"{len(names)} {state}: {', '.join(names[:MAX_NAMED])}" +
                f" and {len(names) - MAX_NAMED} more" * (len(names) > MAX_NAMED)
                for state, names in wrong.items()]  # fmt: skip
        rest = "; with --force, it runs all of them again" if force else ""
        raise RunsFailed(f"{'; '.join(said)}; to try them again, give the same command{rest}")


def _ask(question: str, yes: bool) -> None:
    """Ask for a yes, unless it is given; raise SweepError if there is none."""
    from mnist_nb.tools.runs.plans import SweepError

    try:
        yes = yes or click.confirm(question)
    except click.Abort:  # nobody is there to answer
        click.echo()
    if not yes:
        raise SweepError("nothing was run; answer y to start, or give -y to start without asking")


def _list(prepared) -> None:
    """Print a line for each run of a sweep: finished and where, to do, or again and why."""
    for run in prepared.runs:
        path, seconds, older = prepared.places[run.name]
        if seconds is not None:
            click.echo(f"finished  {run.name}: {path.removeprefix(prepared.folder).strip('/')}")
        else:
            why = older or _how_it_ended(path)
            click.echo(f"{'again' if older else 'to do':10}{run.name}" + f": {why}" * bool(why))
    click.echo("nothing was run")


def _how_it_ended(path: str) -> str:
    """Return how an earlier try at the run ended whose record would be at `path`, or ""."""
    name = path.removesuffix(".ipynb")
    ends = ("failed", "interrupted")
    found = [end for end in ends if os.path.exists(f"{name}.{end}.ipynb")]
    return f"{' and '.join(found)} before" if found else ""


COMMANDS = (run, sweep)
