"""Define the command line `mnist-nb`: data and original here, the others in `cli_*`."""

import logging
from pathlib import Path

import click

from mnist_nb.data import DATASETS
from mnist_nb.errors import ParameterError, Problem
from mnist_nb.tools import cli_authors, cli_results, cli_runs
from mnist_nb.tools.cli_authors import PATH
from mnist_nb.tools.endings import survive_lost_output

# exit codes, which docs/running.md explains; click itself exits with 2 after a usage error
FAILED, REFUSED, INTERRUPTED = 1, 2, 130


class _Commands(click.Group):
    """A group of commands that reports a `Problem` by its message, without a traceback."""

    def invoke(self, ctx: click.Context):
        try:
            with survive_lost_output():
                return super().invoke(ctx)
        except Problem as problem:
            refused = isinstance(problem, ParameterError)
            code = getattr(problem, "exit_code", REFUSED if refused else FAILED)
            raise _ended(str(problem), code) from problem
        except KeyboardInterrupt as stop:
            said = str(stop) or "interrupted; files that were complete are kept"
            raise _ended(said, INTERRUPTED) from stop


def _ended(said: str, code: int) -> click.ClickException:
    """Return the error that ends a command with this message and exit code."""
    error = click.ClickException(said)
    error.exit_code = code
    return error


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
@click.argument("notebook")
def original(notebook: str) -> None:
    """Bring back the original of NOTEBOOK, such as exercises/01_architecture; keep your file."""
    from mnist_nb.tools.original import restore

    path, kept = restore(notebook)
    again = "" if kept == path else f"; yours is now {kept.name}" if kept else ""
    click.echo(f"{path} is the original{again}")


for more in cli_runs.COMMANDS + cli_results.COMMANDS + cli_authors.COMMANDS:
    main.add_command(more)


if __name__ == "__main__":
    main()
