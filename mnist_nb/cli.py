"""The command mnist-nb: a thin face over the package."""

import json
import logging
import sys
from pathlib import Path

import click

from mnist_nb.data import DATASETS
from mnist_nb.errors import Problem

_PATH = click.Path(path_type=Path, readable=False)  # what cannot be read, we say ourselves


class _Commands(click.Group):
    """Commands that end with one sentence where a person can mend what is wrong."""

    def invoke(self, ctx: click.Context):
        try:
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
@click.option("--data-dir", type=_PATH, help="Where the files go.  [default: $MNIST_NB_DATA, "
              "or a folder of your own on this system]")  # fmt: skip
def data(dataset: str, data_dir: Path | None) -> None:
    """Get the files of a dataset and check each against its SHA-256."""
    from mnist_nb.data import fetch

    log = logging.getLogger("mnist_nb")
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)
    click.echo(f"{dataset} is whole and right in {fetch(dataset, data_dir)}")


@main.command()
@click.argument("notebook", type=_PATH, required=False)
@click.option("-p", "--parameter", "given", nargs=2, multiple=True, metavar="NAME VALUE",
              help="Give the parameter NAME this VALUE.  [repeatable]")  # fmt: skip
@click.option("-o", "--output", type=_PATH, default=Path("runs"), show_default=True,
              help="The folder for the executed notebook.")  # fmt: skip
def run(notebook: Path | None, given: tuple[tuple[str, str], ...], output: Path) -> None:
    """Run NOTEBOOK (the walkthrough, if none is given) with parameters."""
    from mnist_nb.runs import records
    from mnist_nb.runs import run as runs

    path = runs.run(notebook or runs.WALKTHROUGH, dict(given), output)
    try:
        history = records.read_record(path)["history"]
    except ValueError:
        pass  # a notebook from elsewhere
    else:
        click.echo("\nepoch   training loss   validation loss   validation accuracy")
        for row in history:
            losses = [float("nan") if row[k] is None else row[k] for k in
                      ("train_loss", "val_loss", "val_accuracy")]  # fmt: skip
            click.echo("{:5}{:16.4f}{:18.4f}{:22.4f}".format(row["epoch"], *losses))
    click.echo(f"\nThe executed notebook: {path}")


@main.command()
@click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="PATH...")
@click.option("--json", "form", flag_value="json", help="All records, whole, as JSON.")
@click.option("--csv", "form", flag_value="csv", help="One row per run, as CSV.")
def results(paths: tuple[Path, ...], form: str | None) -> None:
    """Read the records of runs back, from executed notebooks and folders of them."""
    from mnist_nb.runs.records import notebooks_in, read_record, table

    found = []
    for path in notebooks_in(list(paths)):
        try:
            found.append(read_record(path))
        except ValueError as error:
            click.echo(error, err=True)
    if not found:
        raise click.ClickException("no record of a run was found")
    if form == "json":
        click.echo(json.dumps(found, indent=1))
        return
    frame = table(found)
    if form == "csv":
        click.echo(frame.to_csv(index=False), nl=False)
        return
    same = [c for c in found[0]["parameters"] if len({repr(value) for value in frame[c]}) == 1]
    click.echo(frame.drop(columns=same).to_string(index=False, float_format="{:.4f}".format))
    click.echo(f"\nthe same in all: {', '.join(f'{c}={frame[c].iloc[0]}' for c in same)}")


@main.command()
@click.argument("notebooks", nargs=-1, required=True, type=_PATH, metavar="NOTEBOOK...")
def refresh(notebooks: tuple[Path, ...]) -> None:
    """Execute committed notebooks again, and store them in normal form."""
    from mnist_nb.publish.refresh import refresh

    for path in notebooks:
        click.echo(f"{path}: ", nl=False)
        click.echo("renewed" if refresh(path) else "unchanged, to the byte")


@main.command()
@click.argument("notebooks", nargs=-1, required=True, type=_PATH, metavar="NOTEBOOK...")
def lint(notebooks: tuple[Path, ...]) -> None:
    """Say what in committed notebooks nbval would let pass, and how they read."""
    from mnist_nb.publish.normal_form import problems, rhythm

    failed = False
    for path in notebooks:
        text = path.read_text(encoding="utf-8")
        for problem in problems(text):
            failed = True
            click.echo(f"{path}: {problem}")
        median, high, markdown = rhythm(text)
        click.echo(f"{path.name:28} code lines: median {median:g}, 90th percentile {high}; "
                   f"Markdown per code cell {markdown:.2f}")  # fmt: skip
        if median > 4 or high > 15 or not 0.8 <= markdown <= 1.5:
            failed = True
            click.echo(f"{path}: breaks the rhythm: at most 4 and 15 lines, 0.8 to 1.5")
    sys.exit(failed)


if __name__ == "__main__":
    main()
