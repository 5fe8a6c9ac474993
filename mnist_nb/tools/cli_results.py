"""Define the commands that read runs: results, compare and verify. `cli` adds them."""

import json
import sys
from collections import Counter
from pathlib import Path

import click

from mnist_nb.tools.cli_authors import PATH
from mnist_nb.tools.endings import stop_like_ctrl_c

DIFFERS, REFUSED, NOT_RUN = 1, 2, 3  # exit codes of verify
MAX_SAID = 4  # sentences about one of several records


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


@click.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="RECORD...")
@stop_like_ctrl_c()
def verify(paths: tuple[Path, ...]) -> None:
    """Run the notebook in each RECORD again, and compare its outputs and numbers.

    RECORD is an executed notebook or a folder of them. Code in a record is run as yours, so only
    verify records from people whose notebooks you would run. The exit code is 0 if all numbers
    are the same, to the last bit or within the tolerance of their cells; 1 if some differ, or a
    record was edited; 3 if none differs but a record could not be run.
    """
    from tqdm import tqdm

    from mnist_nb.tools.runs.progress import with_progress_bar
    from mnist_nb.tools.verify import records

    found, left_out = records.records_in(list(paths))
    if left_out:
        click.echo(f"left out, as they failed or a sweep replaced them: {left_out}", err=True)
    if not found:
        refused = click.ClickException(f"no notebook is in {', '.join(map(str, paths))}; give "
                                       "executed notebooks, or folders of them")  # fmt: skip
        refused.exit_code = REFUSED
        raise refused
    alone = len(found) == 1
    verdicts = records.verify_all(found) if not alone else iter([records.verify_record(found[0])])
    states, machines = Counter(), Counter()
    for done, verdict in enumerate(with_progress_bar(verdicts, len(found), "verified"), start=1):
        count = "" if alone else f"{done}/{len(found)} "
        tqdm.write("\n".join([count + _headline(verdict), *_details(verdict, alone)]))
        sys.stdout.flush()
        states[verdict.state] += 1
        machines.update(verdict.machine)
    for line, number in machines.items():
        of = "" if alone else f" (in {number} of {len(found)})"
        click.echo(f"the machines differ: {line}{of}")
    said = ", ".join(f"{number} {state}" for state, number in states.items())
    click.echo(f"{len(found)} record{'s' * (not alone)}: {said}")
    if wrong := set(states) - set(records.VERIFIED):
        sys.exit(NOT_RUN if wrong == {records.NOT_RUN} else DIFFERS)


def _headline(verdict) -> str:
    """Return one line on a record: its state, and what was compared."""
    outputs = [output for _, output in verdict.outputs if output.state != "not compared"]
    numbers, ignored = sum(o.numbers for o in outputs), len(verdict.outputs) - len(outputs)
    size = f" ({len(outputs)} outputs, {numbers} numbers" if verdict.outputs else ""
    size += f"; {ignored} not compared)" if ignored else ")" * bool(size)
    return f"{verdict.path}: {verdict.state}{size}, {verdict.seconds:.1f} s"


def _details(verdict, alone: bool) -> list[str]:
    """Return the sentences on a record; with `alone`, a line for each output."""
    wanted = [(cell, o) for cell, o in verdict.outputs if alone or o.where]
    if not alone:  # what the record has at full precision says most
        wanted.sort(key=lambda pair: pair[1].what != "the record")
    each = [f"{cell}, {_size(o)}: {o.state}" + (f", {o.where}" if o.where else "")
            for cell, o in wanted]  # fmt: skip
    lines = [*verdict.why, *each]
    if not alone and len(lines) > MAX_SAID:
        more = len(lines) - MAX_SAID
        lines[MAX_SAID:] = [f"and {more} more; to see them, verify this record alone"]
    return [f"  {line}" for line in lines]


def _size(output) -> str:
    plural = "s" * (output.numbers != 1)
    return output.what + (f" with {output.numbers} number{plural}" if output.numbers else "")


COMMANDS = (results, compare, verify)
