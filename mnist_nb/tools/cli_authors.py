"""The commands of mnist-nb for who writes the notebooks, publishes them, or teaches with them."""

import sys
from pathlib import Path

import click

from mnist_nb.tools.endings import like_ctrl_c
from mnist_nb.tools.project import EXERCISES, GRADES, PROJECT, STUDENT

PATH = click.Path(path_type=Path, readable=False)  # what cannot be read, we say ourselves


@click.command()
@click.argument("notebooks", nargs=-1, required=True, type=PATH, metavar="NOTEBOOK...")
@like_ctrl_c()
def refresh(notebooks: tuple[Path, ...]) -> None:
    """Execute committed notebooks again, and store them in normal form."""
    from mnist_nb.tools.verify.refresh import refresh

    for path in notebooks:
        click.echo(f"{path}: ", nl=False)
        click.echo("renewed" if refresh(path) else "unchanged, to the byte")


@click.command()
@click.argument("notebooks", nargs=-1, required=True, type=PATH, metavar="NOTEBOOK...")
def lint(notebooks: tuple[Path, ...]) -> None:
    """Say what in committed notebooks nbval would let pass, and how they read."""
    from mnist_nb.tools.runs.run import read_notebook
    from mnist_nb.tools.verify.normal_form import broken_rules, code_lengths

    failed = False
    for path in notebooks:
        read_notebook(path)  # or one sentence says that it is none
        text = path.read_text(encoding="utf-8")
        for problem in broken_rules(text):
            failed = True
            click.echo(f"{path}: {problem}")
        median, high, markdown = code_lengths(text)
        click.echo(f"{path.name:28} code lines: median {median:g}, 90th percentile {high}; "
                   f"Markdown per code cell {markdown:.2f}")  # fmt: skip
        if median > 4 or high > 15 or not 0.8 <= markdown <= 1.5:
            failed = True
            click.echo(f"{path}: breaks the rhythm: at most 4 and 15 lines, 0.8 to 1.5")
    sys.exit(failed)


@click.command()
@click.option("-o", "--output", type=PATH, default=STUDENT,
              help="Where they go.  [default: build/student]")  # fmt: skip
def student(output: Path) -> None:
    """Make the exercises without solutions, and a zip with all that a learner needs."""
    from mnist_nb.tools.classroom.student import make_student

    zipped = make_student(PROJECT, output)
    click.echo(f"{zipped}: {zipped.stat().st_size / 1e6:.1f} MB")


@click.command()
@click.argument("submissions", type=PATH)
@click.option("-o", "--output", type=PATH, default=GRADES,
              help="Where grades.csv and the pages go.  [default: build/grades]")  # fmt: skip
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True,
              help="How long a cell may take; a notebook, five times that.")  # fmt: skip
@click.option("--uncontained", is_flag=True,
              help="Let learners' code do whatever you may do on this machine.")  # fmt: skip
def grade(submissions: Path, output: Path, seconds: int, uncontained: bool) -> None:
    """Grade SUBMISSIONS/LEARNER/EXERCISE.ipynb: a table, and a page for each learner."""
    from mnist_nb.tools.classroom.grading import grade, total

    for learner, results in grade(submissions, EXERCISES, output, not uncontained, seconds):
        click.echo("{}: {:g} of {:g}".format(learner, *total(results)))
        for remark in dict.fromkeys(result.remark for result in results.values() if result.remark):
            names = [name for name, result in results.items() if result.remark == remark]
            click.echo(f"  {', '.join(names)}: {remark}")
    click.echo(f"\nThe table and a page for each learner: {output}")


@click.command()
@click.option("-o", "--output", type=PATH, default=Path("build/site"), show_default=True,
              help="The folder for the pages.")  # fmt: skip
def site(output: Path) -> None:
    """Make the notebooks into pages that open without a network, slides included."""
    from mnist_nb.tools.site.pages import build_site

    index, *pages = build_site(output)
    click.echo(f"{len(pages)} pages and their map: open {index}")


@click.command()
@click.argument("notebooks", nargs=-1, type=PATH, metavar="[NOTEBOOK]...")
@click.option("-o", "--output", type=PATH, default=Path("build/slides"), show_default=True,
              help="The folder for the slides.")  # fmt: skip
def slides(notebooks: tuple[Path, ...], output: Path) -> None:
    """Make notebooks (all, if none is given) into slides, a file each; key S shows the notes."""
    from mnist_nb.tools.site.slides import build_slides

    for path in build_slides(output, list(notebooks)):
        click.echo(path)


@click.command()
def docs() -> None:
    """Write what the docs take from the notebooks: the table of parameters, the picture."""
    from mnist_nb.tools.site.front import PAGE, PICTURE, write_docs

    changed = write_docs(PROJECT)
    for path in (PAGE, PICTURE):
        click.echo(f"{path}: {'renewed' if path in changed else 'unchanged'}")


COMMANDS = (refresh, lint, docs, student, grade, site, slides)
