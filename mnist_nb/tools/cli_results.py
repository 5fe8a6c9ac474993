"""Define the commands that read runs: results, compare, verify, export. `cli` adds them."""

import json
import os
import sys
from collections import Counter
from pathlib import Path

import click

from mnist_nb.errors import ParameterError
from mnist_nb.record import to_json
from mnist_nb.tools.cli_authors import PATH
from mnist_nb.tools.endings import stop_like_ctrl_c

DIFFERS, REFUSED, NOT_RUN = 1, 2, 3  # exit codes of verify
MAX_SAID = 4  # sentences about one of several records


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="PATH...")
@click.option("--where", multiple=True, metavar="NAME=VALUE",
              help="Take only runs with this value of a parameter, or with one of several, as in "
              "lr=0.1,0.01.  [repeatable]")  # fmt: skip
@click.option("--by", multiple=True, metavar="NAME",
              help="Group by this parameter: number of runs, mean and standard deviation over all "
              "runs that share it.  [repeatable]")  # fmt: skip
@click.option("--sort", multiple=True, metavar="COLUMN",
              help="Sort by this column; -COLUMN sorts from the highest down.  "
              "[repeatable]")  # fmt: skip
@click.option("--epochs", is_flag=True, help="One row per epoch, not only the last one's numbers.")
@click.option("--json", is_flag=True,
              help="All records (with --by, --sort or --epochs, the table) as JSON.")  # fmt: skip
@click.option("--csv", is_flag=True, help="One row per run or, with --by, per group.")
@click.option("--html", is_flag=True,
              help="A page with the table and a plot, in one file.")  # fmt: skip
@click.option("--plot", "picture", type=PATH, metavar="FILE",
              help="Draw the runs into a .png or .svg: curves with bands, or a map of two "
              "parameters.")  # fmt: skip
def results(places, where, by, sort, epochs: bool, picture: Path | None, **forms: bool) -> None:
    """Show the records of runs, from executed notebooks or folders of them.

    PATH is a notebook, a folder or an address like s3://...
    """
    form = _only_form(forms)
    _check_kind(picture)
    from mnist_nb.tools.runs.results import runs_in

    runs, left_out = runs_in(list(places))
    for line in left_out:
        click.echo(line, err=True)
    from mnist_nb.tools.runs import selection, tables  # slow to import, as pandas is

    if not runs:
        raise click.ClickException(tables.no_runs(places))
    runs, by = selection.where(runs, where), list(dict.fromkeys(by))
    for name in by:
        if not (epochs and name == "epoch"):
            selection.check_parameter(runs, name)
    notes = selection.warnings(runs, by, epochs) if by else []
    for note in notes:
        click.echo(note, err=True)
    frame = tables.asked(selection.in_order(runs), by, sort, epochs)
    if picture:
        _draw(runs, by, picture)
    shown = {*by, *["epoch"] * epochs}
    if same := {n: v for n, v in tables.constants(runs).items() if n not in shown}:
        notes.append(f"the same in all runs: {', '.join(f'{n}={v}' for n, v in same.items())}")
    short = frame.drop(columns=["wall_time_s_std"] if by else list(same), errors="ignore")
    if form == "csv":
        click.echo(frame.to_csv(index=False), nl=False)
    elif form == "json":
        said = tables.as_json(frame) if by or sort or epochs else to_json(runs)
        click.echo(json.dumps(said, indent=1, allow_nan=False))
    elif form == "html":
        click.echo(_page(runs, by, short, notes))
    else:
        names = {*tables.parameters_of(runs)} & {*short}
        click.echo(short.to_string(index=False, float_format="{:.4f}".format,
                                   formatters=dict.fromkeys(names, tables.as_text)))  # fmt: skip
        if same:
            click.echo(f"\n{notes[-1]}")


def _only_form(forms: dict[str, bool]) -> str:
    """Return the format that was asked for, or "" for the table; raise if there are two."""
    asked = [f"--{form}" for form, is_asked in forms.items() if is_asked]
    if len(asked) > 1:
        raise ParameterError(f"{' and '.join(asked)} are {len(asked)} formats; choose one")
    return asked[0][2:] if asked else ""


def _check_kind(picture: Path | None) -> None:
    """Raise before anything is read if `picture` has a suffix that no plot can have."""
    if picture and picture.suffix not in (".png", ".svg"):
        raise click.ClickException(f"a plot is a .png or an .svg, not {picture.name}; "
                                   "choose another name with --plot")  # fmt: skip


def _draw(runs: list[dict], by: list[str], picture: Path) -> None:
    from mnist_nb.files import write_whole
    from mnist_nb.tools.runs.plots import as_bytes, draw

    drawing = draw(runs, by)
    try:
        write_whole(picture, as_bytes(drawing, picture.suffix[1:]))
    except OSError as error:
        why = f"the plot {picture} cannot be written ({error.strerror})"
        raise click.ClickException(f"{why}; choose another place with --plot") from error
    click.echo(f"{picture}: {drawing.alt}", err=True)


def _page(runs: list[dict], by: list[str], frame, notes: list[str]) -> str:
    from mnist_nb.tools.runs.page import page
    from mnist_nb.tools.runs.plots import as_bytes, draw

    svg, alt = None, ""
    try:
        drawing = draw(runs, by)
        svg, alt = as_bytes(drawing, "svg"), drawing.alt
    except ParameterError as error:  # the table says it all
        click.echo(f"the page has no plot: {error}", err=True)
    return page(f"Results of {_counted(len(runs), 'run')}", frame, svg, alt, notes)


@click.command()
@click.argument("a")
@click.argument("b")
def compare(a: str, b: str) -> None:
    """Compare the runs in two executed notebooks, A and B, or in folders that hold one each.

    Show the parameters and the parts of the environment that differ, and the first epoch in which
    the numbers differ.
    """
    from mnist_nb.tools.runs.pair import record_at
    from mnist_nb.tools.runs.results import differences

    try:
        found = differences(record_at(a), record_at(b))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(found))


@click.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="RECORD...")
@click.option("--cwd", type=PATH, metavar="FOLDER",
              help="Working folder.  [default: an empty one for each record]")  # fmt: skip
@stop_like_ctrl_c()
def verify(paths: tuple[Path, ...], cwd: Path | None) -> None:
    """Run the notebook in each RECORD again, and compare its outputs and numbers.

    RECORD is an executed notebook or a folder of them. Code in a record is run as yours, so only
    verify records from people whose notebooks you would run. The exit code is 0 if all numbers
    are the same, to the last bit or within the tolerance of their cells; 1 if some differ, or a
    record was edited; 2 if no record was found; 3 if none differs but one could not be run.
    """
    from tqdm import tqdm

    from mnist_nb.tools.runs.progress import with_progress_bar
    from mnist_nb.tools.verify import records

    found, left_out = records.records_in(list(paths))
    if left_out:
        click.echo("left out, as they failed, were interrupted, or a sweep replaced them: "
                   f"{left_out}", err=True)  # fmt: skip
    if not found:
        refused = click.ClickException(f"no notebook is in {', '.join(map(str, paths))}; give "
                                       "executed notebooks, or folders of them")  # fmt: skip
        refused.exit_code = REFUSED
        raise refused
    alone = len(found) == 1
    verdicts = records.verify_all(found, cwd)
    if alone:
        verdicts = iter([records.verify_record(found[0], os.getcwd(), cwd)])
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
    size = f" ({_counted(len(outputs), 'output')}, {_counted(numbers, 'number')}"
    size *= bool(verdict.outputs)
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
    return output.what + f" with {_counted(output.numbers, 'number')}" * bool(output.numbers)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="RECORD...")
@click.option("-o", "--output", required=True, type=PATH, metavar="FILE",
              help="The zip to write, such as crate.zip.")  # fmt: skip
@click.option("--license", "licence", metavar="ID",
              help="The licence of the records: an SPDX identifier such as MIT, or a web address. "
              " [default: none is stated]")  # fmt: skip
@click.option("--key", type=PATH, metavar="FILE",
              help="A private key of SSH, which signs the zip; the signature is put beside it, "
              "with .sig after its name.")  # fmt: skip
def export(places, output: Path, licence: str | None, key: Path | None) -> None:
    """Pack records into a zip that other tools can read: a Process Run Crate (RO-Crate).

    RECORD is an executed notebook, a folder or an address like s3://... The zip has the notebooks
    with their checksums, parameters, results, times and versions, and a page that shows them.
    """
    from mnist_nb.tools.runs.export import export as pack

    number, left_out = pack(list(places), output, licence, key)
    for line in left_out:
        click.echo(line, err=True)
    signed = f", signed in {output.name}.sig" if key else ""
    click.echo(f"{output}: {number} record{'s' * (number != 1)}{signed}")


COMMANDS = (results, compare, verify, export)
