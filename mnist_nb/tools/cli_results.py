"""Define the commands that read runs: results and compare. `cli` adds them to the command line."""

import json
from pathlib import Path

import click

from mnist_nb.tools.cli_authors import PATH


@click.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--by", multiple=True, metavar="NAME",
              help="Group by this parameter: number of runs, mean and standard deviation.  "
              "[repeatable]")  # fmt: skip
@click.option("--json", "form", flag_value="json", help="All records (with --by, groups) as JSON.")
@click.option("--csv", "form", flag_value="csv", help="One row per run or, with --by, per group.")
@click.option("--html", "form", flag_value="html", help="The table as HTML.")
def results(paths: tuple[Path, ...], by: tuple[str, ...], form: str | None) -> None:
    """Show the records of runs, from executed notebooks or folders of them."""
    from mnist_nb.record import to_json
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
        click.echo(json.dumps(to_json(found), indent=1, allow_nan=False))
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


@click.command()
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


COMMANDS = (results, compare)
