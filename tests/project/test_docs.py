"""README and docs/: short, true to the code, and every link leads somewhere."""

import re
import tomllib

import click
import nbformat
import pytest
import yaml
from conftest import CHAPTERS, NOTEBOOKS, PROJECT, WALKTHROUGH
from PIL import Image

from mnist_nb.parameters import RULES
from mnist_nb.tools.cli import main
from mnist_nb.tools.runs.declared import declared_parameters
from mnist_nb.tools.runs.results import read_record
from mnist_nb.tools.site import front
from mnist_nb.tools.site.html import PublishError, read_page

GLOSSARY = PROJECT / "notebooks" / "glossary.md"
PAGES = {p.name: p for p in [PROJECT / "README.md", PROJECT / "CHANGELOG.md", GLOSSARY,
                             *sorted((PROJECT / "docs").glob("*.md"))]}  # fmt: skip
TEXT = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMITTED = front.PAGE.removeprefix("docs/")


def anchors(text: str) -> set[str]:
    """The names under which a page's headings are found on GitHub."""
    heads = re.findall(r"^#+ (.+)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_readme_is_one_page():
    assert len(TEXT["README.md"].splitlines()) <= 120


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXT[name]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (PAGES[name].parent / path).resolve() if path else PAGES[name]
        assert file.exists() and file.is_relative_to(PROJECT.resolve()), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_link_of_a_notebook_leads_to_a_file_and_each_word_to_its_place_in_the_glossary(path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.is_file() and found.is_relative_to(PROJECT / "notebooks"), target
        if found == GLOSSARY:
            assert not anchor or anchor in anchors(TEXT[GLOSSARY.name]), target


def test_the_glossary_is_in_alphabetical_order_and_names_a_notebook_for_each_word():
    entries = re.split(r"^## ", TEXT[GLOSSARY.name], flags=re.MULTILINE)[1:]
    words = [entry.splitlines()[0] for entry in entries]
    assert words == sorted(set(words)) and len(words) > 40
    place = r"→\s\[[\w ]+\]\((exercises/)?\d\d_\w+\.ipynb\)$"
    assert all(re.search(place, entry.strip()) for entry in entries)


def test_every_page_is_reached_from_readme():
    known, new = set(), {"README.md"}
    while new:
        known |= new
        linked = {
            t.rpartition("/")[2] for n in new for t in re.findall(r"\]\(([^)#\s]+)", TEXT[n])
        }
        new = (linked & PAGES.keys()) - known
    assert known == PAGES.keys()


def test_the_learners_page_links_to_no_file_as_it_is_the_readme_of_their_zip():
    assert all("://" in target for target in re.findall(r"\]\(([^)]+)\)", TEXT["learners.md"]))


def test_every_target_of_make_and_every_command_that_a_page_names_is_there():
    makefiles = [(PROJECT / name).read_text("utf-8") for name in ("Makefile", "authors.mk")]
    targets = set(re.findall(r"^([a-z-]+):", "\n".join(makefiles), re.MULTILINE))
    for name, text in TEXT.items():
        found = re.findall(r"`([^`]+)`|^    (.+)", text, re.MULTILINE)
        code = "\n".join("".join(pair).replace("\n", " ") for pair in found)
        named = set(re.findall(r"^(?:\S+=\S+ )*make ([a-z][a-z-]*)", code, re.MULTILINE))
        assert named <= targets, (name, named - targets)
        commands = set(re.findall(r"mnist-nb ([a-z]+)", code))
        assert commands <= main.commands.keys(), (name, commands - main.commands.keys())


def test_running_says_how_to_use_every_command_of_readers_and_what_a_sweep_can_do():
    text = TEXT[COMMITTED]
    for name in ("data", "run", "sweep", "results", "compare", "verify", "export"):
        assert f"mnist-nb {name}" in text, name
    for word in ("--by", "--csv", "--json", "--scheduler", "-f ", "-g ", "-o "):
        assert word in text, word
    options = {o for c in main.commands.values() for p in c.params
               if isinstance(p, click.Option) for o in p.opts}  # fmt: skip
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    named -= {"--host", "--install", "--no-deps", "--nthreads"}  # other programs' own
    assert named <= options, named - options


# --- the map of the notebooks


def test_readmes_map_has_every_chapter_once_with_the_minutes_that_the_chapter_says():
    rows = re.findall(r"^\| \[(\w+)\]\(notebooks/\1\.ipynb\) \|.*\| (\d+) \|$",
                      TEXT["README.md"], re.MULTILINE)  # fmt: skip
    said = [(p.stem, re.search(r"(\d+) minutes", read_page(p, p.stem).minutes)) for p in CHAPTERS]
    assert rows == [(name, minutes[1]) for name, minutes in said]


def test_what_the_walkthrough_says_can_be_read_in_a_time_needs_no_more_minutes():
    (ways,) = [
        c.source for c in nbformat.read(WALKTHROUGH, as_version=4).cells if c.id == "map-read"
    ]
    minutes = {p.stem: int(re.search(r"(\d+) min", read_page(p, p.stem).minutes)[1])
               for p in CHAPTERS}  # fmt: skip
    read = 0
    for time, most in (("half an hour", 30), ("two hours", 120)):
        (row,) = re.findall(rf"^\| {time} \| (.*) \|$", ways, re.MULTILINE)
        read += sum(minutes[name] for name in re.findall(r"\]\((\w+)\.ipynb\)", row))
        assert read <= most, time
    assert "| six and a half hours | everything" in ways
    assert 6 * 60 <= sum(minutes.values()) <= 6.5 * 60


def test_every_part_that_contributing_draws_is_there_and_no_module_is_missing():
    text = TEXT["contributing.md"]
    house = text[text.index("## The house") : text.index("Data flows")]
    above, drawn = [], set()
    for indent, part in re.findall(r"^    ( *)([\w./-]+)(?: {2,}\S.*)?$", house, re.MULTILINE):
        above[len(indent) // 2 :] = [part]
        drawn.add("".join(above))
    assert [part for part in sorted(drawn) if not (PROJECT / part).exists()] == []
    modules = {str(p.relative_to(PROJECT)) for p in PROJECT.glob("mnist_nb/**/[!_]*.py")}
    assert modules - drawn == set()
    table = text[text.index("## Where to change") : text.index("## Add a chapter")]
    for path in re.findall(r"`(mnist_nb/[^`]+)`", table):
        assert (PROJECT / path).exists(), path


# --- what `make docs` writes


def test_the_table_of_parameters_is_what_make_docs_writes():
    table = front.parameter_table(nbformat.read(WALKTHROUGH, as_version=4))
    assert front.with_table(TEXT[COMMITTED], table) == TEXT[COMMITTED], "make docs renews it"


def test_the_table_has_each_parameter_with_its_default_its_comment_and_what_it_takes():
    notebook = nbformat.read(WALKTHROUGH, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    rows = [[part.strip() for part in row.split("|")[1:-1]]
            for row in front.parameter_table(notebook).splitlines()[2:]]  # fmt: skip
    declared = declared_parameters(notebook)
    lines = [line for line in cell.source.splitlines() if not line.startswith("#")]
    assert [row[0] for row in rows] == [f"`{name}`" for name in declared]
    for (name, d), line, row in zip(declared.items(), lines, rows, strict=True):
        assert row[1:] == [f"`{d.default!r}`", line.split("  # ")[1], RULES[name].words]


@pytest.mark.parametrize(
    ("line", "says"),
    [("lr: float = 0.01", "lr needs a comment"), ("colour: int = 1  # a colour", "colour")],
)
def test_a_parameter_without_a_comment_or_that_nothing_checks_has_no_table(line, says):
    notebook = nbformat.read(WALKTHROUGH, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    cell.source = line
    with pytest.raises(PublishError, match=says):
        front.parameter_table(notebook)


@pytest.mark.parametrize(
    "page", ["no marks", "{end}{start}", "{start}{start}{end}", "{start} and no end"]
)
def test_a_page_without_its_two_marks_is_refused_and_not_cut(page):
    marks = {"start": front._START, "end": front._END}
    with pytest.raises(PublishError, match="needs the lines"):
        front.with_table(page.format(**marks), "| a |\n")


def test_a_folder_without_docs_such_as_the_learners_zip_is_one_sentence(tmp_path):
    with pytest.raises(PublishError, match=f"Cannot find {front.PAGE}"):
        front.write_docs(tmp_path)


def test_make_docs_mends_a_table_and_a_picture_that_are_off_and_then_changes_nothing(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "notebooks").symlink_to(PROJECT / "notebooks")
    page = tmp_path / front.PAGE
    page.write_text(TEXT[COMMITTED].replace("| `0.01` |", "| `0.02` |"), encoding="utf-8")
    Image.new("RGB", (2, 2)).save(tmp_path / front.PICTURE)
    assert front.write_docs(tmp_path) == [front.PAGE, front.PICTURE]
    assert page.read_text(encoding="utf-8") == TEXT[COMMITTED]
    assert front.write_docs(tmp_path) == []


def test_the_picture_shows_the_stored_figures_and_its_alt_text_has_the_stored_losses():
    with Image.open(PROJECT / front.PICTURE) as committed:
        drawn = front.overview(nbformat.read(WALKTHROUGH, as_version=4))
        assert committed.size == drawn.size, "make docs renews it"
        assert committed.tobytes() == drawn.tobytes(), "make docs renews it"
    alt = re.search(rf"!\[([^\]]+)\]\({front.PICTURE}\)", TEXT["README.md"])[1].replace("\n", " ")
    history = read_record(WALKTHROUGH)["history"]
    ends = [[f"{row[key]:.2f}" for row in (history[0], history[-1])]
            for key in ("train_loss", "val_loss")]  # fmt: skip
    assert re.findall(r"from (\d\.\d+) to (\d\.\d+)", alt) == [tuple(pair) for pair in ends]
    code = "\n".join(c.source for c in nbformat.read(WALKTHROUGH, as_version=4).cells)
    for key, published in re.findall(r'"(\w+)": \[(\d\.\d+)', code):
        assert published in alt, key


# --- how to cite


def test_the_citation_has_what_its_schema_wants_and_the_version_and_licence_of_the_package():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    for key in ("message", "title"):
        assert isinstance(citation[key], str) and citation[key]
    assert citation["type"] == "software"
    assert citation["authors"] and all(a.keys() == {"name"} for a in citation["authors"])
    licence = (PROJECT / "LICENSE").read_text(encoding="utf-8")
    assert all(a["name"] in licence for a in citation["authors"])
    assert citation["version"] == PYPROJECT["version"]
    assert citation["license"] == PYPROJECT["license"]


def test_the_changelog_starts_with_what_is_not_released_or_with_this_version():
    heads = re.findall(r"^## (.+)", TEXT["CHANGELOG.md"], re.MULTILINE)
    assert heads[0] == "Unreleased" or heads[0].startswith(f"[{PYPROJECT['version']}]")
    kinds = set(re.findall(r"^### (.+)", TEXT["CHANGELOG.md"], re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
