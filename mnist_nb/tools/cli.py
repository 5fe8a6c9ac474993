"""The command mnist-nb: a thin face over the package."""

import json
import logging
from collections import Counter
from pathlib import Path

import click

from mnist_nb.data import DATASETS
from mnist_nb.errors import ParameterError, Problem
from mnist_nb.tools import cli_authors
from mnist_nb.tools.cli_authors import PATH
from mnist_nb.tools.endings import like_ctrl_c, read_or_not
from mnist_nb.tools.project import WALKTHROUGH

ASK_ABOVE = 100  # runs that a sweep starts without a question
CHECK_ABOVE = 10_000  # runs that it checks without one: a second or two
NAMED = 20  # runs that a sweep names when they failed


class _Commands(click.Group):
    """Commands that end with one sentence where a person can mend what is wrong."""

    def invoke(self, ctx: click.Context):
        try:
            with read_or_not():
                return super().invoke(ctx)
        except Problem as problem:
            raise click.ClickException(str(problem)) from problem
        except KeyboardInterrupt as stop:
            said = str(stop) or "interrupted; what was finished before is kept"
            raise click.ClickException(said) from stop


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mnist-nb")
def main() -> None:
    """Notebooks on a small network for MNIST: get the data, run them, read the results."""


@main.command()
@click.option("--dataset", type=click.Choice(DATASETS), default="MNIST", show_default=True)
@click.option("--data-dir", type=PATH, help="Where the files go.  [default: $MNIST_NB_DATA, "
              "or a folder of your own on this system]")  # fmt: skip
def data(dataset: str, data_dir: Path | None) -> None:
    """Get the files of a dataset; check MNIST and FashionMNIST against their SHA-256."""
    from mnist_nb.data import HASHED, fetch

    log = logging.getLogger("mnist_nb")
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)
    folder = fetch(dataset, data_dir)
    if dataset in HASHED:
        click.echo(f"{dataset} is whole and right in {folder}")
    else:
        click.echo(
            f"{dataset} can be read in {folder}; its SHA-256 is not known here, so it was checked "
            "only when torchvision downloaded it"
        )


@main.command()
@click.argument("notebook", type=PATH, required=False)
@click.option("-p", "--parameter", "given", nargs=2, multiple=True, metavar="NAME VALUE",
              help="Give the parameter NAME this VALUE.  [repeatable]")  # fmt: skip
@click.option("-o", "--output", type=PATH, default=Path("runs"), show_default=True,
              help="The folder for the executed notebook.")  # fmt: skip
@like_ctrl_c()
def run(notebook: Path | None, given: tuple[tuple[str, str], ...], output: Path) -> None:
    """Run NOTEBOOK (the walkthrough, if none is given) with parameters."""
    from mnist_nb.tools.runs.results import read_record
    from mnist_nb.tools.runs.run import run

    path = run(notebook or WALKTHROUGH, _once(given), output)
    try:
        history = read_record(path)["history"]
    except ValueError:
        pass  # a notebook from elsewhere
    else:
        click.echo("\nepoch   training loss   validation loss   validation accuracy")
        for row in history:
            losses = [float("nan") if row[k] is None else row[k] for k in
                      ("train_loss", "val_loss", "val_accuracy")]  # fmt: skip
            click.echo("{:5}{:16.4f}{:18.4f}{:22.4f}".format(row["epoch"], *losses))
    click.echo(f"\nThe executed notebook: {path}")


def _once(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return names and values given on the command line; an error if a name is there twice."""
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
              help="All combinations of these VALUES: 0.1,1 or 0:10.  [repeatable]")  # fmt: skip
@click.option("-p", "--parameter", "fixed", nargs=2, multiple=True, metavar="NAME VALUE",
              help="Give the parameter NAME this VALUE in all runs.  [repeatable]")  # fmt: skip
@click.option("-f", "--file", "file", type=PATH,
              help="A YAML file with grid, zip, runs, exclude, include, parameters.")  # fmt: skip
@click.option("-o", "--output", default="runs", show_default=True, metavar="FOLDER",
              help="Where the executed notebooks go; also s3://...")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS",
              help="A Dask cluster, tcp://...  [default: a process per core, here]")  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help=f"Do not ask, even for over {ASK_ABOVE} runs.")
@like_ctrl_c()
def sweep(notebook, grid, fixed, file, output: str, scheduler: str | None, yes: bool) -> None:
    """Run NOTEBOOK (the walkthrough, if none is given) with many parameters.

    Every run is checked before the first one starts. The same command again goes on where it
    was stopped: what is finished is not run again.
    """
    from mnist_nb.tools.runs.plans import SweepError, count, read_plan
    from mnist_nb.tools.runs.progress import duration
    from mnist_nb.tools.runs.sweep import carry_out, prepare

    plan = read_plan(file) if file else {}
    for part, pairs in (("grid", grid), ("parameters", fixed)):
        plan[part] = {**plan.get(part, {}), **_once(pairs)}
    path = notebook or WALKTHROUGH
    if (number := count(plan)) > CHECK_ABOVE:
        click.echo(f"{number:,} runs of {path.name}, before any is excluded")
        if not yes:
            click.confirm(f"Check {number:,} runs, to start those that are left?", abort=True)
    prepared = prepare(path, plan, output)
    runs, left, seconds = len(prepared.runs), len(prepared.left), prepared.seconds
    time = f", about {duration(seconds)} on this machine" if seconds else ""
    click.echo(f"{runs} runs of {path.name} into {output}: {runs - left} finished before, "
               f"{left} to do{time}")  # fmt: skip
    older = Counter(place.older for place in prepared.places.values() if place.older)
    for why, number in older.items():
        click.echo(f"older records that stay there and do not count: {number} ({why})")
    if left > ASK_ABOVE and not yes:
        click.confirm(f"Start {left} runs?", abort=True)
    ends = carry_out(prepared, scheduler) if left else ()
    wrong: dict[str, list[str]] = {}
    for name, outcome in ends:
        if outcome.state != "finished":
            wrong.setdefault(outcome.state, []).append(name)
    finished = runs - sum(map(len, wrong.values()))
    click.echo(f"{finished} of {runs} runs are finished; mnist-nb results {output}")
    if wrong:
        said = [f"{len(names)} {state}: {', '.join(names[:NAMED])}" +
                f" and {len(names) - NAMED} more" * (len(names) > NAMED)
                for state, names in wrong.items()]  # fmt: skip
        raise SweepError(f"{'; '.join(said)}; the same command tries them again")


@main.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--by", multiple=True, metavar="NAME",
              help="A row per value of this parameter: mean, standard deviation and number "
              "of its runs.  [repeatable]")  # fmt: skip
@click.option("--json", "form", flag_value="json", help="All records, whole, as JSON.")
@click.option("--csv", "form", flag_value="csv", help="One row per run, as CSV.")
@click.option("--html", "form", flag_value="html", help="The table as HTML.")
def results(paths: tuple[Path, ...], by: tuple[str, ...], form: str | None) -> None:
    """Read the records of runs back, from executed notebooks and folders of them."""
    from mnist_nb.tools.runs.results import grouped, latest, notebooks_in, read_record, table

    found = []
    for path in notebooks_in(list(paths)):
        try:
            found.append(read_record(path))
        except ValueError as error:
            click.echo(error, err=True)
    if not found:
        raise click.ClickException("no record of a run was found")
    found, older = latest(found)
    if older:
        click.echo(f"older records left out, as a sweep made them again: {older}", err=True)
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
            click.echo(f"\nthe same in all: {said}")


@main.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
def compare(a: Path, b: Path) -> None:
    """Say what differs between two runs: parameters, environment, and from which epoch."""
    from mnist_nb.tools.runs.results import differences, read_record

    try:
        found = differences(read_record(a), read_record(b))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(found))


for more in cli_authors.COMMANDS:
    main.add_command(more)


if __name__ == "__main__":
    main()
