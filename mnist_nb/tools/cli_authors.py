"""Define the commands of `mnist-nb` for authors and instructors, from `refresh` to `slides`.

`cli` adds them to the command line.
"""

import sys
from pathlib import Path

import click

from mnist_nb.tools.endings import stop_like_ctrl_c
from mnist_nb.tools.project import GRADES, KIT, PROJECT, SOLUTIONS, STUDENT, WALKTHROUGH

PATH = click.Path(path_type=Path, readable=False)  # our own messages say what cannot be read


@click.command()
@click.argument("notebooks", nargs=-1, required=True, type=PATH, metavar="NOTEBOOK...")
@stop_like_ctrl_c()
def refresh(notebooks: tuple[Path, ...]) -> None:
    """Execute committed notebooks again and save them in normal form."""
    from mnist_nb.tools.verify.refresh import refresh

    for path in notebooks:
        click.echo(f"{path}: ", nl=False)
        click.echo("updated" if refresh(path) else "unchanged")


@click.command()
@click.argument("notebooks", nargs=-1, required=True, type=PATH, metavar="NOTEBOOK...")
def lint(notebooks: tuple[Path, ...]) -> None:
    """Check committed notebooks for what nbval does not check, and for readability."""
    from mnist_nb.tools.runs.run import read_notebook
    from mnist_nb.tools.verify.normal_form import broken_rules, code_lengths

    failed = False
    for path in notebooks:
        read_notebook(path)  # raises a RunError if it is not a notebook
        text = path.read_text(encoding="utf-8")
        for problem in broken_rules(text):
            failed = True
            click.echo(f"{path}: {problem}")
        median, high, markdown = code_lengths(text)
        click.echo(f"{path.name:28} code lines: median {median:g}, 90th percentile {high}; "
                   f"Markdown per code cell {markdown:.2f}")  # fmt: skip
        if median > 4 or high > 15 or not 0.8 <= markdown <= 1.5:
            failed = True
            click.echo(f"{path}: split long cells, or change the amount of text: the limits are "
                       "a median of 4 lines, a 90th percentile of 15, and 0.8 to 1.5 for "
                       "Markdown")  # fmt: skip
    sys.exit(failed)


@click.command()
def exercises() -> None:
    """Write notebooks/exercises from notebooks/solutions; answers in exercises/ are replaced."""
    from mnist_nb.tools.classroom.student import write_exercises

    for path, changed in write_exercises(PROJECT).items():
        click.echo(f"{path.relative_to(PROJECT)}: {'updated' if changed else 'unchanged'}")


@click.command()
@click.option("-o", "--output", type=PATH, default=STUDENT,
              help="Folder for the exercises and the zip.  [default: build/student in the "
              "project's folder]")  # fmt: skip
def student(output: Path) -> None:
    """Write the exercises without solutions, and a zip file with all a learner needs."""
    from mnist_nb.tools.classroom.student import make_student

    zipped = make_student(PROJECT, output)
    click.echo(f"{zipped}: {zipped.stat().st_size / 1e6:.1f} MB")


@click.command()
@click.option("--systems", default="", metavar="NAMES",
              help="Systems to bring wheels for, out of linux, linux-arm, macos and windows.  "
              "[default: this machine's]")  # fmt: skip
@click.option("--pythons", default="", metavar="VERSIONS",
              help="Versions of Python, as in '3.11 3.12'.  [default: this one]")  # fmt: skip
@click.option("--torch", type=click.Choice(["", "cpu", "cuda"]), default="",
              help="Build of torch for Linux.  [default: cpu if it can be had]")  # fmt: skip
@click.option("--torch-cpu", default="https://download.pytorch.org/whl/cpu", show_default=True,
              metavar="ADDRESS", help="torch's index of CPU builds.")  # fmt: skip
@click.option("-o", "--output", type=PATH, default=KIT,
              help="Folder for the kit, as on a stick.  [default: build/kit]")  # fmt: skip
@stop_like_ctrl_c()
def kit(systems: str, pythons: str, torch: str, torch_cpu: str, output: Path) -> None:
    """Make a folder for a room without a network: zip, data, site, and wheels to install from."""
    from mnist_nb.tools.classroom.kit import PAGE, gigabytes, make_kit, size_of
    from mnist_nb.tools.classroom.targets import targets
    from mnist_nb.tools.classroom.wheels import download_wheels
    from mnist_nb.tools.site.pages import build_site

    def download(folder, wanted):
        return download_wheels(folder, wanted, torch, torch_cpu, click.echo)

    made = make_kit(PROJECT, output, targets(systems, pythons), download,
                    lambda folder, packed: build_site(folder, student=packed))  # fmt: skip
    for target, files in made.files.items():
        size = gigabytes(sum(path.stat().st_size for path in files))
        click.echo(f"{target}: {len(files)} wheels, {size}")
    for line in (*made.notes, *made.problems):
        click.echo(line)
    click.echo(f"\nThe kit, {gigabytes(size_of(output))}: {output / PAGE} says what to do")
    if made.problems:
        raise click.ClickException("the kit lacks what could not be downloaded (see above); fix "
                                   "that, then make it again: it keeps its wheels")  # fmt: skip


@click.command()
@click.argument("submissions", type=PATH)
@click.option("-o", "--output", type=PATH, default=GRADES,
              help="Folder for grades.csv and the pages.  [default: build/grades in the "
              "project's folder]")  # fmt: skip
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True,
              help="Time limit per cell; a notebook has five times as long.")  # fmt: skip
@click.option("--uncontained", is_flag=True,
              help="Run learners' code without a sandbox, with all your permissions.")  # fmt: skip
@click.option("--again", is_flag=True,
              help="Grade everyone again, also those whose notebooks are unchanged.")  # fmt: skip
@stop_like_ctrl_c()
def grade(submissions: Path, output: Path, seconds: int, uncontained: bool, again: bool) -> None:
    """Grade SUBMISSIONS/LEARNER/EXERCISE.ipynb; write a table and a page per learner.

    To resume an interrupted grading, give the same command again: finished learners are skipped.
    """
    from mnist_nb.tools.classroom.entries import learners
    from mnist_nb.tools.classroom.grading import grade, total

    count = len(learners(submissions)) if submissions.is_dir() else 0
    if count:
        click.echo(f"grading {count} learners; the first take about a minute", err=True)
    graded, results = grade(submissions, SOLUTIONS, output, not uncontained, seconds, again), {}
    for number, (learner, results) in enumerate(graded, start=1):
        click.echo(f"[{number} of {count}] ", nl=False, err=True)
        click.echo("{}: {:g} of {:g}".format(learner, *total(results)))
        for remark in dict.fromkeys(result.remark for result in results.values() if result.remark):
            names = [name for name, result in results.items() if result.remark == remark]
            click.echo(f"  {', '.join(names)}: {remark}")
    if left_out := [p.stem for p in sorted(SOLUTIONS.glob("*.ipynb")) if p.stem not in results]:
        click.echo(f"\nleft out, as nobody handed them in: {', '.join(left_out)}")
    click.echo(f"\nThe table and a page for each learner: {output}")


@click.command()
@click.argument("folders", nargs=-1, required=True, type=PATH, metavar="FOLDER...")
def board(folders: tuple[Path, ...]) -> None:
    """Show a board of the class for the challenge, from the records in FOLDER/LEARNER/*.ipynb."""
    import nbformat

    from mnist_nb.tools.classroom.board import board
    from mnist_nb.tools.runs.declared import declared_parameters

    declared = declared_parameters(nbformat.read(WALKTHROUGH, as_version=4))
    rows, refused = board(list(folders), {name: d.default for name, d in declared.items()})
    for line in refused:
        click.echo(line, err=True)
    if not rows:
        said = f"no run for the challenge was found in {', '.join(map(str, folders))}"
        raise click.ClickException(f"{said}; give a folder with a folder for each learner")
    wide = max(len(row[1]) for row in rows)
    for rank, learner, accuracy, changes in rows:
        click.echo(f"{rank:3}  {learner:{wide}}  {accuracy:.2%}  {changes}")
    click.echo("\nThese are claims: the numbers are from the notebooks as handed in. Only "
               "`mnist-nb grade` trains\nthe settings again. Runs that differ by less than half "
               "a point may differ by luck.")  # fmt: skip


@click.command()
@click.option("-o", "--output", type=PATH,
              help="Folder for the pages.  [default: build/site or build/site-instructor]",
              )  # fmt: skip
@click.option("--instructor", is_flag=True,
              help="Add the solutions and the guide, which learners should not see.")  # fmt: skip
def site(output: Path | None, instructor: bool) -> None:
    """Write the notebooks as web pages and slides for learners that work offline."""
    from mnist_nb.tools.site.pages import build_site

    default = Path("build/site-instructor" if instructor else "build/site")
    index, *pages = build_site(output or default, instructor=instructor)
    click.echo(f"{len(pages)} pages and an index: open {index}")


@click.command()
@click.argument("notebooks", nargs=-1, type=PATH, metavar="[NOTEBOOK]...")
@click.option("-o", "--output", type=PATH, default=Path("build/slides"), show_default=True,
              help="Folder for the slides.")  # fmt: skip
@click.option(
    "--pdf", is_flag=True, help="Print each file as PDF, too, with this machine's Chromium."
)
def slides(notebooks: tuple[Path, ...], output: Path, pdf: bool) -> None:
    """Write notebooks (default: all chapters) as slides, one file each; press S for the notes."""
    from mnist_nb.tools.site.pdf import PublishError, write_pdf
    from mnist_nb.tools.site.slides import build_slides

    decks = build_slides(output, list(notebooks))
    for path in decks:
        click.echo(path)
    try:
        for path in decks if pdf else ():
            click.echo(write_pdf(path))
    except PublishError as error:  # the slides are there
        click.echo(error, err=True)


@click.command()
def docs() -> None:
    """Update the parts of the docs made from notebooks: a parameter table and a picture."""
    from mnist_nb.tools.site.front import PAGE, PICTURE, write_docs

    changed = write_docs(PROJECT)
    for path in (PAGE, PICTURE):
        click.echo(f"{path}: {'updated' if path in changed else 'unchanged'}")


COMMANDS = (refresh, lint, docs, exercises, student, kit, grade, board, site, slides)
