"""Define the command line `mnist-nb`: data, run, sweep, results, compare and original.

The commands for authors and instructors are in `cli_authors`.
"""

import json
import logging
from collections import Counter
from pathlib import Path

import click

from mnist_nb.data import DATASETS
from mnist_nb.errors import ParameterError, Problem
from mnist_nb.tools import cli_authors
from mnist_nb.tools.cli_authors import PATH
from mnist_nb.tools.endings import stop_like_ctrl_c, survive_lost_output
from mnist_nb.tools.project import WALKTHROUGH

ASK_ABOVE = 100  # ask before starting a sweep of more runs
CHECK_ABOVE = 10_000  # ask before checking more runs, which takes over a second
MAX_NAMED = 20  # failed runs that a message lists by name


class _Commands(click.Group):
    """A group of commands that reports a `Problem` by its message, without a traceback."""

    def invoke(self, ctx: click.Context):
        try:
            with survive_lost_output():
                return super().invoke(ctx)
        except Problem as problem:
            raise click.ClickException(str(problem)) from problem
        except KeyboardInterrupt as stop:
            said = str(stop) or "interrupted; files that were complete are kept"
            raise click.ClickException(said) from stop


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mnist-nb")
def main() -> None:
    """Run notebooks about a small network on MNIST, and read their results."""


@main.command()
@click.option("--dataset", type=click.Choice(DATASETS), default="MNIST", show_default=True,
              help="Dataset to download.")  # fmt: skip
@click.option("--data-dir", type=PATH, help="Folder for the files.  [default: $MNIST_NB_DATA, "
              "or your user data folder]")  # fmt: skip
def data(dataset: str, data_dir: Path | None) -> None:
    """Download a dataset; check MNIST and FashionMNIST against their SHA-256 checksums."""
    from mnist_nb.data import CHECKSUMS, fetch

    log = logging.getLogger("mnist_nb")
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)
    folder = fetch(dataset, data_dir)
    if dataset in CHECKSUMS:
        click.echo(f"{dataset} is complete and verified in {folder}")
    else:
        click.echo(
            f"{dataset} is in {folder}, and torchvision can read it; this project has no SHA-256 "
            "checksums for it, so files that you copied there are not checked"
        )


@main.command()
@click.argument("notebook", type=PATH, required=False)
@click.option("-p", "--parameter", "given", nargs=2, multiple=True, metavar="NAME VALUE",
              help="Give the parameter NAME this VALUE.  [repeatable]")  # fmt: skip
@click.option("-o", "--output", type=PATH, default=Path("runs"), show_default=True,
              help="Folder for the executed notebook.")  # fmt: skip
@stop_like_ctrl_c()
def run(notebook: Path | None, given: tuple[tuple[str, str], ...], output: Path) -> None:
    """Run NOTEBOOK with parameters. Without NOTEBOOK, run the walkthrough."""
    from mnist_nb.tools.runs.results import read_record
    from mnist_nb.tools.runs.run import run

    path = run(notebook or WALKTHROUGH, _without_duplicates(given), output)
    try:
        history = read_record(path)["history"]
    except ValueError:
        pass  # not one of our notebooks: it leaves no record
    else:
        click.echo("\nepoch   training loss   validation loss   validation accuracy")
        for row in history:
            losses = [float("nan") if row[k] is None else row[k] for k in
                      ("train_loss", "val_loss", "val_accuracy")]  # fmt: skip
            click.echo("{:5}{:16.4f}{:18.4f}{:22.4f}".format(row["epoch"], *losses))
    click.echo(f"\nThe executed notebook: {path}")


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


@main.command()
@click.argument("notebook", type=PATH, required=False)
@click.option("-g", "--grid", "grid", nargs=2, multiple=True, metavar="NAME VALUES",
              help="Run all combinations of VALUES: 0.1,1 or 0:10 (which is 0 to 9).  "
              "[repeatable]")  # fmt: skip
@click.option("-p", "--parameter", "fixed", nargs=2, multiple=True, metavar="NAME VALUE",
              help="Give the parameter NAME this VALUE in all runs.  [repeatable]")  # fmt: skip
@click.option("-f", "--file", "file", type=PATH,
              help="YAML file that describes the runs, like those in studies/experiments/; its "
              "parts are parameters, grid, zip, runs, exclude and include.")  # fmt: skip
@click.option("-o", "--output", default="runs", show_default=True, metavar="FOLDER",
              help="Folder for the executed notebooks, or an address like s3://...")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS",
              help="Address of a Dask scheduler, tcp://...  [default: local, one "
              "worker per core]")  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help=f"Do not ask before more than {ASK_ABOVE} runs.")
@stop_like_ctrl_c()
def sweep(notebook, grid, fixed, file, output: str, scheduler: str | None, yes: bool) -> None:
    """Run NOTEBOOK (default: the walkthrough) many times, with different parameters.

    All runs are checked before the first one starts. To resume an interrupted sweep, give the
    same command again: finished runs are skipped.
    """
    from mnist_nb.tools.runs.plans import SweepError, count, read_plan
    from mnist_nb.tools.runs.progress import duration
    from mnist_nb.tools.runs.sweep import carry_out, prepare

    plan = read_plan(file) if file else {}
    for part, pairs in (("grid", grid), ("parameters", fixed)):
        plan[part] = {**plan.get(part, {}), **_without_duplicates(pairs)}
    path = notebook or WALKTHROUGH
    if (number := count(plan)) > CHECK_ABOVE:
        click.echo(f"{number:,} runs of {path.name}, before exclusions")
        if not yes:
            click.confirm(f"Check {number:,} runs and start those not excluded?", abort=True)
    prepared = prepare(path, plan, output)
    runs, left, seconds = len(prepared.runs), len(prepared.left), prepared.seconds
    time = f", about {duration(seconds)} on this machine" if seconds else ""
    click.echo(f"{runs} runs of {path.name} into {output}: {runs - left} finished before, "
               f"{left} to do{time}")  # fmt: skip
    older = Counter(place.older for place in prepared.places.values() if place.older)
    for why, number in older.items():
        click.echo(f"outdated records, kept but not counted: {number} ({why})")
    if left > ASK_ABOVE and not yes:
        click.confirm(f"Start {left} runs?", abort=True)
    ends = carry_out(prepared, scheduler) if left else ()
    wrong: dict[str, list[str]] = {}
    for name, outcome in ends:
        if outcome.state != "finished":
            wrong.setdefault(outcome.state, []).append(name)
    finished = runs - sum(map(len, wrong.values()))
    see = f"to see them: mnist-nb results {output}"
    if "://" in output:
        see = "to see them, copy them to this machine, then: mnist-nb results FOLDER"
    click.echo(f"{finished} of {runs} runs are finished; {see}")
    if wrong:
        said = [f"{len(names)} {state}: {', '.join(names[:MAX_NAMED])}" +
                f" and {len(names) - MAX_NAMED} more" * (len(names) > MAX_NAMED)
                for state, names in wrong.items()]  # fmt: skip
        raise SweepError(f"{'; '.join(said)}; to try them again, give the same command")


@main.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--by", multiple=True, metavar="NAME",
              help="Group by this parameter: number of runs, mean and standard deviation.  "
              "[repeatable]")  # fmt: skip
@click.option("--json", "form", flag_value="json", help="All records (with --by, groups) as JSON.")
@click.option("--csv", "form", flag_value="csv", help="One row per run or, with --by, per group.")
@click.option("--html", "form", flag_value="html", help="The table as HTML.")
def results(paths: tuple[Path, ...], by: tuple[str, ...], form: str | None) -> None:
    """Show the records of runs, from executed notebooks or folders of them."""
    from mnist_nb.tools.runs.results import grouped, latest, notebooks_in, read_record, table

    found = []
    for path in notebooks_in(list(paths)):
        try:
            found.append(read_record(path))
        except ValueError as error:
            click.echo(error, err=True)
    if not found:
        said = f"no record of a run was found in {', '.join(map(str, paths))}"
        raise click.ClickException(f"{said}; give executed notebooks, or folders of them")
    found, older = latest(found)
    if older:
        click.echo(f"outdated records left out, as a sweep replaced them: {older}", err=True)
    if form == "json" and not by:
        click.echo(json.dumps(found, indent=1))
        return
    frame, same = table(found), {}
    names = list(dict.fromkeys(name for record in found for name in record["parameters"]))
    if by:
        frame = grouped(frame, list(by))
    elif form != "csv":
        same = {name: frame[name].iloc[0] for name in names
                if len({repr(value) for value in frame[name]}) == 1}  # fmt: skip
        frame = frame.drop(columns=list(same))
    if form == "csv":
        click.echo(frame.to_csv(index=False), nl=False)
    elif form == "json":
        click.echo(frame.to_json(orient="records", indent=1, double_precision=15))
    elif form == "html":
        click.echo(frame.to_html(index=False))
    else:
        exact = {name: str for name in names if name in frame}
        click.echo(frame.to_string(index=False, float_format="{:.4f}".format, formatters=exact))
        if same:
            said = ", ".join(f"{name}={value}" for name, value in same.items())
            click.echo(f"\nthe same in all runs: {said}")


@main.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
def compare(a: Path, b: Path) -> None:
    """Compare the runs in two executed notebooks, A and B.

    Show the parameters and the parts of the environment that differ, and the first epoch in which
    the numbers differ.
    """
    from mnist_nb.tools.runs.results import differences, read_record

    try:
        found = differences(read_record(a), read_record(b))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(found))


@main.command()
@click.argument("notebook")
def original(notebook: str) -> None:
    """Bring back the original of NOTEBOOK, such as exercises/01_architecture; keep your file."""
    from mnist_nb.tools.original import restore

    path, kept = restore(notebook)
    if kept == path:
        click.echo(f"{path} is the original, unchanged")
    else:
        click.echo(f"{path} is the original again{f'; yours is now {kept.name}' if kept else ''}")


for more in cli_authors.COMMANDS:
    main.add_command(more)


if __name__ == "__main__":
    main()
