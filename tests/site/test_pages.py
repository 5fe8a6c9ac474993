"""The pages and the slides: all of the notebooks, nothing from elsewhere, readable by anyone."""

import functools
import posixpath
import re
import shutil
import zipfile
from pathlib import Path

import nbformat
import pytest
from browser import axe_script, chromium, violations
from bs4 import BeautifulSoup
from click.testing import CliRunner
from conftest import CHAPTERS, PROJECT, small_notebook
from in_use import LOCAL, LOOKS, MINUTES, states
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mnist_nb import live
from mnist_nb.tools import cached_wheel
from mnist_nb.tools.cli import main
from mnist_nb.tools.site import pages
from mnist_nb.tools.site.html import PublishError
from mnist_nb.tools.site.pages import build_site
from mnist_nb.tools.site.reveal import REVEAL, REVEAL_SHA256
from mnist_nb.tools.site.slides import build_slides

NAMES = [path.stem for path in CHAPTERS]
EXERCISES = sorted((PROJECT / "notebooks" / "exercises").glob("*.ipynb"))
SOLUTIONS = sorted((PROJECT / "notebooks" / "solutions").glob("*.ipynb"))
UNSOLVED = [f"exercises/{path.stem}" for path in EXERCISES]
GUIDE = PROJECT / "docs" / "instructor.md"
TABLE = "<table border='1'><tr><th></th><th>a</th></tr><tr><th>0</th><td>1</td></tr></table>"


def with_zip(folder: Path) -> Path:
    """What `make student` leaves, in small."""
    with zipfile.ZipFile(folder / "student.zip", "w") as archive:
        archive.writestr("README", "take me along")
    return folder


def small_course(folder: Path, name: str = "03_loss") -> Path:
    """A folder of notebooks with one chapter, its exercises, their solutions and a glossary."""
    originals = PROJECT / "notebooks"
    for path in ("glossary.md", *(f"{at}{name}.ipynb" for at in ("", "exercises/", "solutions/"))):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(originals / path, folder / path)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The learners' site."""
    folder = tmp_path_factory.mktemp("site")
    build_site(folder, student=with_zip(tmp_path_factory.mktemp("student")))
    return folder


@pytest.fixture(scope="module")
def instructors(tmp_path_factory) -> Path:
    """The instructor's site, in small."""
    folder, course = tmp_path_factory.mktemp("instructors"), tmp_path_factory.mktemp("course")
    student = with_zip(tmp_path_factory.mktemp("zip"))
    build_site(folder, small_course(course), student, instructor=True)
    return folder


@functools.cache  # only read, and slow to parse
def soup_of(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(), "html.parser")


def html_files(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def said(text: str) -> str:
    """The letters, however they are marked, coloured and broken into lines."""
    return re.sub(r"[\W_]+", "", text)


def test_the_map_lists_every_notebook_in_order_with_what_it_says_of_itself(site):
    entries = soup_of(site / "index.html").select("main > ol > li")
    shown = [(e.a["href"], e.a.get_text(), e.p.get_text()) for e in entries]
    expected = []
    for name, path in zip([*NAMES, *UNSOLVED], [*CHAPTERS, *EXERCISES], strict=True):
        first = nbformat.read(path, as_version=4).cells[0].source.splitlines()
        minutes = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", first[2]).strip("*.")
        assert minutes.startswith("About ") and "](" not in minutes
        expected.append((f"{name}.html", first[0].strip("# "), minutes))
    assert shown == expected and len(EXERCISES) == 10
    assert [link["href"] for link in entries[3].select(".downloads a")] == [
        "03_loss.ipynb",
        "slides/03_loss.html",
    ]
    assert (site / "student.zip").is_file()


def test_the_index_repeats_the_walkthroughs_map_of_what_to_read_in_how_much_time(site):
    index, walkthrough = (soup_of(site / name).main for name in ("index.html", f"{NAMES[0]}.html"))
    links = [a["href"] for a in index.select("table a")]
    assert links == [a["href"] for a in walkthrough.select("#Where-to-go-from-here ~ .scroll a")]
    assert {"02_optimizer.html", "06_evaluation.html"} <= set(links)
    assert index.img["alt"] in [image["alt"] for image in walkthrough.find_all("img")]
    assert not index.find("pre")


def test_previous_and_next_go_through_all_pages(site):
    names, page = [], "00_walkthrough.html"
    while page:
        links = {a["rel"][0]: posixpath.normpath(f"{page}/../{a['href']}")
                 for a in soup_of(site / page).select("header a[rel]")}  # fmt: skip
        assert links.get("prev", "") == "".join(names[-1:])
        names.append(page)
        page = links.get("next")
    assert names == [f"{name}.html" for name in (*NAMES, *UNSOLVED, "glossary")]


def test_the_instructors_guide_is_a_page_of_their_site_with_its_sections_on_the_map(instructors):
    text = GUIDE.read_text()
    heads = re.findall(r"^## (.*)", text, flags=re.MULTILINE)
    page, index = (soup_of(instructors / name) for name in ("instructor.html", "index.html"))
    assert [h.get_text() for h in page.main.find_all("h2")] == heads
    assert f"Teaching with it: {', '.join(heads)}." in index.get_text()
    assert (instructors / "instructor.md").read_text() == text


def test_the_instructors_site_has_each_exercise_without_and_with_its_solutions(instructors):
    for folder, marked in (("exercises", False), ("solutions", True)):
        text = soup_of(instructors / folder / "03_loss.html").main.get_text()
        assert ("BEGIN SOLUTION" in text) == ("BEGIN HIDDEN TESTS" in text) == marked
    links = [link.get_text() for link in soup_of(instructors / "index.html").find_all("a")]
    assert {"Exercises: the loss", "Exercises: the loss, solved"} <= {*links}
    assert (instructors / "student.zip").is_file()


# What only an instructor may read


PICTURE = re.compile(r"[A-Za-z0-9+/]{400,}")  # base64: most of a page, and no line of text


def cut(text: str) -> str:
    """The text without spaces and quotation marks, however a page or a file breaks and escapes."""
    return re.sub(r"[\s\\\"'“”‘’]|\\n", "", text)


@functools.cache  # asked for each page
def secrets() -> set[str]:
    """Each line of a solution or a hidden test that learners see nowhere else."""
    secret = re.compile(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n(.*?)### END \1", re.S)
    sources = [cell.source for path in SOLUTIONS for cell in nbformat.read(path, 4).cells]
    known = [secret.sub("", source) for source in sources]
    known += [cell.source for path in CHAPTERS for cell in nbformat.read(path, 4).cells]
    known = cut("".join(known))
    lines = {cut(line) for source in sources for _, part in secret.findall(source)
             for line in part.splitlines()}  # fmt: skip
    return {line for line in lines if len(line) > 12 and line not in known}


@functools.cache
def sayings() -> set[str]:
    """Each line of the guide's text and tables that has some length."""
    lines = {cut(re.sub(r"[*`|]|\]\(.*?\)", "", line)) for line in GUIDE.read_text().splitlines()}
    return {line for line in lines if len(line) > 30}


def readable(folder: Path) -> dict[str, str]:
    """All that a person can read in a site's files: pages as text and as they are."""
    texts = {}
    for path in folder.rglob("*.*"):
        if path.suffix in (".html", ".md", ".ipynb", ".js"):
            text = PICTURE.sub("", path.read_text())
            shown = soup_of(path).get_text() if path.suffix == ".html" else ""
            texts[str(path.relative_to(folder))] = cut(re.sub(r"[*`|]", "", text + shown))
    return texts


def test_no_page_of_the_learners_site_has_a_solution_a_hidden_test_or_the_guides_own_sentence(
    site,
):
    names = {str(path.relative_to(site)) for path in site.rglob("*.*")}
    assert not [name for name in names if "instructor" in name or "solution" in name]
    assert len(secrets()) > 150 and len(sayings()) > 100
    for name, text in readable(site).items():
        assert "BEGINSOLUTION" not in text and "HIDDENTESTS" not in text, name
        assert not [line for line in secrets() | sayings() if line in text], name


def test_what_is_looked_for_in_the_learners_site_would_be_found(instructors):
    texts = readable(instructors)
    for page, lines in (("instructor", sayings()), ("solutions/03_loss", secrets())):
        for ending in ("html", "md" if page == "instructor" else "ipynb"):
            found = [line for line in lines if line in texts[f"{page}.{ending}"]]
            assert len(found) > 20, (page, ending)


@pytest.mark.parametrize("left", ["instructor.html", "instructor.md", "solutions/03_loss.html"])
def test_learners_pages_are_not_written_where_the_instructors_are(tmp_path, left):
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).touch()
    with pytest.raises(PublishError, match=rf"{left} is not for learners"):
        build_site(tmp_path, small_course(tmp_path / "notebooks"), tmp_path / "none")
    assert not (tmp_path / "index.html").exists()


def foreign_scripts(soup: BeautifulSoup) -> list:
    """The scripts and styles in a page's text that are not those of our live parts."""
    own = set()
    names = {part.get("data-part") for part in soup.select("main .mnist-nb-live")}
    for name in names & live.NAMES:
        made = BeautifulSoup(live.html(name, "", "null"), "html.parser")
        own |= {made.find("style").string, made.find_all("script")[1].string}
    tags = soup.main.find_all(["script", "style"])
    return [t for t in tags if t.get("type") != "application/json" and t.string not in own]


def test_no_page_loads_anything_and_all_its_scripts_are_ours(site):
    for path in html_files(site):
        soup = soup_of(path)
        assert not soup.find_all(["link", "iframe", "object", "embed", "video", "audio"])
        assert all(tag["src"].startswith("data:") for tag in soup.find_all(src=True)), path
        style = "".join(tag.get_text() for tag in soup.find_all("style"))
        assert not re.search(r"@import|url\((?!['\"]?data:)", style), path
        outside = [s for s in soup.find_all("script") if s.find_parent("main") is None]
        assert not foreign_scripts(soup), path
        assert len(outside) == 1 or path.parent.name == "slides", path
        assert path.parent.name != "slides" or not soup.main.find("script"), path
        assert path.stat().st_size < 1_000_000 or path.parent.name == "slides", path


def test_a_notebook_from_elsewhere_brings_no_script_to_its_page_and_its_slides(tmp_path):
    bad = "<script>alert(1)</script><style>* { color: red }</style>"

    def part(name):
        return (f'<div class="mnist-nb-live" data-part="{name}">a <b>still</b> picture</div>'
                f'<script type="application/json">{{"from": "{name}"}}</script>{bad}')  # fmt: skip

    shown = [
        bad,
        part("pad"),
        part("none"),
        part("../start"),
        part("pad").replace("data-part", "a"),
    ]
    outputs = [new_output("display_data", {"text/html": html}) for html in shown]
    cells = [new_markdown_cell(f"# One\n\n{bad}"), new_code_cell("f()", outputs=outputs)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    build_site(tmp_path / "site", tmp_path, student=tmp_path / "none")
    page, deck = (soup_of(tmp_path / "site" / name) for name in ("n.html", "slides/n.html"))
    assert not foreign_scripts(page) and not deck.main.find_all(["script", "style"])
    stored = [tag.string for tag in page.find_all("script", type="application/json")]
    assert stored == ['{"from": "pad"}']
    for soup in (page, deck):
        bold = [b for b in soup.main.find_all("b") if not b.find_parent(class_="paper")]
        assert [b.parent.get_text() for b in bold] == ["a still picture"] * 4


@pytest.mark.parametrize("folder", [".", "slides"])
def test_every_figure_arrives_with_the_alt_text_of_the_notebook(site, folder):
    for path in CHAPTERS:
        outputs = [o for c in nbformat.read(path, 4).cells for o in c.get("outputs", [])]
        expected = [
            o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})
        ]
        images = soup_of(site / folder / f"{path.stem}.html").find_all("img")
        images = [i for i in images if not i.find_parent(class_=["mnist-nb-live", "paper"])]
        assert [image["alt"] for image in images] == expected and all(expected)


def test_every_link_leads_to_a_file_of_the_site_and_a_heading_in_it(site):
    ids = {path: {tag["id"] for tag in soup_of(path).find_all(id=True)} for path in
           map(Path.resolve, html_files(site))}  # fmt: skip
    count = 0
    for path in ids:
        for link in soup_of(path).find_all("a", href=True):
            target, _, fragment = link["href"].partition("#")
            if "://" in target:  # documentation and papers, for those who are online
                continue
            found = (path.parent / target).resolve() if target else path
            assert found.is_file() and site.resolve() in found.parents, (path, link)
            assert not fragment or fragment in ids[found], (path, link)
            assert found.suffix != ".ipynb" or link.has_attr("download"), (path, link)
            count += 1
    assert count > 200


def test_a_link_from_an_exercise_leads_to_a_page_or_is_none(tmp_path):
    (tmp_path / "exercises").mkdir()
    small_notebook(tmp_path / "03_loss.ipynb", "1 + 1")
    text = "See [the loss](../03_loss.ipynb#One), [none](02.ipynb) and [code](../../a/model.py)."
    cells = [new_markdown_cell(f"# Try it\n\n{text}")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "exercises" / "01_try.ipynb")
    build_site(tmp_path / "site", tmp_path, student=tmp_path / "none")
    links = soup_of(tmp_path / "site" / "exercises" / "01_try.html").main.p.find_all("a")
    assert [link["href"] for link in links] == ["../03_loss.html#One"]


@pytest.mark.parametrize("folder", [".", "slides"])
def test_the_formulas_are_there_as_mathml(site, folder):
    source = "".join(c.source for c in nbformat.read(CHAPTERS[3], 4).cells)
    blocks = re.findall(r"\$\$.+?\$\$", source, flags=re.DOTALL)
    soup = soup_of(site / folder / "03_loss.html")
    text = "".join(tag.get_text() for tag in soup.select("p, li"))
    assert len(blocks) == 6 and "$" not in text
    shown = {math.get_text(): math["display"] for math in soup.find_all("math")}
    assert {shown[letter] for letter in "zym"} == {"inline"}
    assert [*shown.values()].count("block") == 6
    assert [kind for math, kind in shown.items() if "m+ln∑" in math] == ["block"]


def test_all_code_and_all_words_are_on_a_page_and_on_its_slides_or_in_their_notes(site):
    for path in CHAPTERS:
        shown = [said(soup_of(site / folder / f"{path.stem}.html").main.get_text(" "))
                 for folder in (".", "slides")]  # fmt: skip
        for cell in nbformat.read(path, as_version=4).cells:
            lines = cell.source.splitlines()
            if cell.cell_type == "markdown":
                text = re.sub(
                    r"\]\([^)]*\)|^(\d+\.|[-#>]+) |</?(?:details|summary|code)>",
                    "\n\n",
                    cell.source,
                    flags=re.M,
                )
                lines = re.split(r"(?<=[.?!:])\s+|\n\n|[*`]+|\$+[^$]*\$+", text)
            for line in lines:
                assert all(said(line) in text for text in shown), (path.stem, line)


def test_exercises_are_published_without_solutions_or_not_at_all(tmp_path):
    course = small_course(tmp_path / "notebooks")
    path, original = (course / at / "03_loss.ipynb" for at in ("exercises", "solutions"))
    blank, none = path.read_text(), tmp_path / "none"
    written = build_site(tmp_path / "site", course, none)
    assert [page.name for page in written] == ["index.html", "03_loss.html", "03_loss.html",
                                             "glossary.html"]  # fmt: skip
    path.write_text(original.read_text())
    with pytest.raises(PublishError, match=r"03_loss\.ipynb has solutions in it"):
        build_site(tmp_path / "site", course, none)

    tried = nbformat.reads(blank, as_version=4)
    cell = next(cell for cell in tried.cells if cell.metadata.get("nbgrader", {}).get("solution"))
    for change in ({"source": "def choices(loss):\n    return 9"},
                   {"outputs": [new_output("stream", text="9")]}):  # fmt: skip
        before = dict(cell)
        cell.update(change)
        nbformat.write(tried, path)
        with pytest.raises(PublishError, match=rf"has been worked on \(see cell {cell.id}\)"):
            build_site(tmp_path / "site", course, none)
        cell.update(before)
    original.unlink()  # as in the learners' own folder, who may publish what they have done
    assert build_site(tmp_path / "site", course, none)


def deck_of(tmp_path, *cells) -> list[BeautifulSoup]:
    path = tmp_path / "n.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    (deck,) = build_slides(tmp_path / "deck", [path])
    return soup_of(deck).select("section")


def test_what_the_metadata_of_a_cell_says_about_slides_is_done(tmp_path):
    def cell(source, kind=None):
        metadata = {"slideshow": {"slide_type": kind}} if kind else {}
        return new_markdown_cell(source, metadata=metadata)

    first, second = deck_of(
        tmp_path, cell("# One"), cell("left out", "skip"), cell("whispered", "notes"),
        cell("A. " * 90, "-"), cell("Two", "slide"), cell("three", "fragment"),
    )  # fmt: skip
    assert first.aside.get_text(strip=True) == "whispered" and "left out" not in str(first)
    assert first.find_all("p")[0].get_text(strip=True) == ("A. " * 90).strip()
    assert second.select(".fragment")[0].get_text(strip=True) == "three"


def test_code_that_draws_is_folded_on_pages_and_slides_and_its_output_is_not(tmp_path):
    output = new_output("stream", text="drawn\n")
    cell = new_code_cell("\n".join(["draw()"] * 40), outputs=[output])
    cell.metadata["tags"] = ["hide-input"]
    (slide,) = deck_of(tmp_path, new_markdown_cell("# Curves"), cell)
    (page,) = build_site(tmp_path / "site", tmp_path, student=tmp_path / "none")[1:]
    folded = slide.aside.extract(), soup_of(page).main.details.extract()
    for shown, code in zip((slide, soup_of(page)), folded, strict=True):
        assert code.get_text().count("draw()") == 40 and "draw()" not in shown.get_text()
        assert "drawn" in shown.get_text()


def test_a_long_output_says_on_the_slide_how_much_is_left_out(tmp_path):
    rows = TABLE.replace("</table>", "<tr><td>x</td><td>y</td></tr>" * 60 + "</table>")
    table = new_output("display_data", {"text/html": rows})
    lines = new_output("stream", text="".join(f"line {n}\n" for n in range(60)))
    sections = deck_of(tmp_path, new_code_cell("f()", outputs=[table, lines]))
    text = " ".join(section.get_text(" ") for section in sections)
    shown = text.count("line ")
    assert 10 < shown < 25 and f"{60 - shown} more lines in the notebook" in text
    shown = text.count("y")
    assert 5 < shown < 20 and f"{60 - shown} more rows in the notebook" in text


def no_network(folder: Path) -> dict[str, str]:
    """The environment of someone whose package index does not answer and who has no cache."""
    return {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": "/dev/null",
            "PIP_NO_INDEX": "1", "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache")}  # fmt: skip


@pytest.fixture
def wheel(site) -> Path:
    """The wheel of reveal.js that was kept when the slides were built."""
    (path,) = cached_wheel.user_cache_path("mnist-nb", appauthor=False).glob(
        "sphinx_revealjs-*.whl"
    )
    return path


def test_slides_need_the_network_once_and_a_wheel_that_is_another_is_not_used(
    command, tmp_path, wheel
):
    notebook = small_notebook(tmp_path / "n.ipynb", "1 + 1")
    done = command("slides", notebook, **no_network(tmp_path))
    assert done.returncode == 1 and "Traceback" not in done.stderr and not done.stdout
    assert f"{REVEAL} could not be downloaded from the package index" in done.stderr
    assert "copy sphinx_revealjs-3.2.1-py3-none-any.whl into" in done.stderr
    assert not (tmp_path / "build").exists()

    cache = tmp_path / "cache" / "mnist-nb"
    cache.mkdir(parents=True)
    kept = Path(shutil.copy(wheel, cache))
    done = command("slides", notebook, **no_network(tmp_path))
    assert (done.returncode, done.stdout) == (0, "build/slides/n.html\n"), done.stderr

    kept.write_bytes(kept.read_bytes().replace(b"reveal", b"revenge", 1))
    done = command("slides", notebook, **no_network(tmp_path))
    assert done.returncode == 1 and REVEAL in done.stderr


def test_a_wheel_is_kept_for_the_next_time(tmp_path, monkeypatch, wheel):
    monkeypatch.setattr(cached_wheel, "download_wheel", lambda *_: wheel.read_bytes())
    monkeypatch.setattr(cached_wheel, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    cached_wheel.cached_wheel(REVEAL, REVEAL_SHA256).close()
    assert (tmp_path / "cache" / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize(
    ("words", "folder", "instructor"),
    [([], "build/site", False), (["--instructor"], "build/site-instructor", True),
     (["--instructor", "-o", "out"], "out", True)],
)  # fmt: skip
def test_the_two_sites_have_folders_of_their_own(monkeypatch, words, folder, instructor):
    asked = []
    monkeypatch.setattr(pages, "build_site", lambda *a, **k: asked.append((a, k)) or [Path()])
    assert CliRunner().invoke(main, ["site", *words]).exit_code == 0
    assert asked == [((Path(folder),), {"instructor": instructor})]


def test_what_cannot_be_published_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    nbformat.write(new_notebook(cells=[new_markdown_cell(r"$$\frac{1}{$$")]), tmp_path / "n.ipynb")
    (tmp_path / "file").touch()
    for arguments, code, words in (
        (["slides", "n.ipynb"], 1, "cannot be made into MathML"),
        (["slides", "gone.ipynb"], 2, "cannot find the notebook gone.ipynb"),
        (["site", "-o", "file"], 2, "cannot be written"),
    ):
        done = CliRunner().invoke(main, arguments)
        assert isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code == code and words in done.stderr and done.stderr.count("\n") == 1


# In a browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_script()


@pytest.fixture(scope="module")
def tab(browser):
    """One page for all, without a network: a new one each time takes longer than what it shows."""
    context = browser.new_context(offline=True)
    yield context.new_page()
    context.close()


@pytest.fixture
def opened(tab, site):
    """Opens a page, and counts what it asks for besides itself."""
    asked, errors = [], []

    def open_page(name, width=1280, height=720, scheme="light"):
        tab.goto("about:blank")  # so that what comes is new even if it was there already
        tab.set_viewport_size({"width": width, "height": height})
        tab.emulate_media(media="screen", color_scheme=scheme)
        tab.goto((site / name).as_uri())
        return tab

    listeners = {
        "request": lambda request: asked.append(request.url),
        "pageerror": lambda error: errors.append(error),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    yield open_page
    tab.goto("about:blank")
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    own = {path.resolve().as_uri() for path in html_files(site)}
    asked = {url.partition("#")[0] for url in asked if not url.startswith(("data:", "about:"))}
    assert asked <= own and not errors


PAGES = ["index", *NAMES, "exercises/01_architecture"]
IN_ALL_LOOKS = {"03_loss"}  # the others in turn, as all share a style
AXE = [
    (name, *look)
    for a, name in enumerate(PAGES)
    for b, look in enumerate(LOOKS)
    if name in IN_ALL_LOOKS or a % 4 == b
]


@pytest.mark.parametrize(("name", "width", "scheme"), AXE)
def test_axe_finds_nothing_in_light_in_dark_and_on_a_phone(opened, axe, name, width, scheme):
    page = opened(f"{name}.html", width, 844, scheme)
    assert violations(page, axe, every=False) == []


@pytest.mark.parametrize("name", ["index", "instructor", "solutions/03_loss"])
def test_axe_finds_nothing_on_the_instructors_own_pages(tab, instructors, axe, name):
    tab.goto((instructors / f"{name}.html").as_uri())
    assert violations(tab, axe, every=True) == []


@pytest.fixture(scope="module")
def all_for_instructors(tmp_path_factory) -> Path:
    """The instructor's site, whole."""
    folder = tmp_path_factory.mktemp("whole")
    build_site(folder, student=with_zip(tmp_path_factory.mktemp("student")), instructor=True)
    return folder


LEARNERS = ["index", *NAMES, *UNSOLVED, "glossary"]
INSTRUCTORS = ["index", "instructor", *(f"solutions/{path.stem}" for path in SOLUTIONS)]


@pytest.mark.whole
@pytest.mark.parametrize(
    ("which", "name"),
    [*(("site", n) for n in LEARNERS), *(("all_for_instructors", n) for n in INSTRUCTORS)],
)
def test_with_all_of_a_page_in_use_axe_finds_nothing_and_it_loads_only_files(
    browser, request, axe, which, name
):
    path = request.getfixturevalue(which) / f"{name}.html"
    assert path.stat().st_size < 1_000_000
    page = browser.new_context(offline=True).new_page()
    page.set_default_timeout(MINUTES)
    wrong, found = [], []
    page.on("request", lambda sent: LOCAL.match(sent.url) or wrong.append(sent.url))
    page.on("pageerror", lambda error: wrong.append(error))
    page.goto(path.as_uri())
    for state, new in states(page):
        for width, scheme in LOOKS:
            page.set_viewport_size({"width": width, "height": 844})
            page.emulate_media(color_scheme=scheme)
            found += [(state, width, scheme, v) for v in violations(page, axe, True, new)]
            if page.evaluate("document.documentElement.scrollWidth") > width:
                found.append((state, width, "scrolls sideways"))
    page.context.close()
    assert (found, wrong) == ([], [])


@pytest.mark.parametrize("name", PAGES)
def test_on_a_phone_nothing_but_boxes_scrolls_sideways(opened, name):
    page = opened(f"{name}.html", 390, 844)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    out = page.evaluate("""[...document.querySelectorAll('main *')].filter(e =>
        e.getBoundingClientRect().right > 391 && !e.closest('pre, .scroll')).length""")
    assert out == 0


def test_dark_is_the_readers_own_setting_and_print_is_never_dark(opened):
    colour = "getComputedStyle(document.body).backgroundColor"
    assert opened("03_loss.html").evaluate(colour) == "rgb(255, 255, 255)"
    page = opened("03_loss.html", scheme="dark")
    assert page.evaluate(colour) == "rgb(21, 24, 29)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    assert not page.locator("nav").first.is_visible()


def test_a_formula_is_drawn_as_one(opened):
    box = opened("03_loss.html").locator("math[display=block]").first.bounding_box()
    assert box["height"] > 40, "a fraction is taller than a line"


def deck_opened(opened, name) -> tuple:
    """The page of the slides, and the numbers of the slides on it."""
    page = opened(f"slides/{name}.html")
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    return page, range(page.evaluate("Reveal.getTotalSlides()"))


@pytest.mark.parametrize("name", NAMES)
def test_on_every_slide_everything_is_inside_and_large_enough(opened, name):
    page, numbers = deck_opened(opened, name)
    wrong = page.evaluate(
        """count => {
        const wrong = [];
        for (let number = 0; number < count; number++) {
            Reveal.slide(number);
            const slide = Reveal.getCurrentSlide();
            const say = (what, e) => wrong.push(`slide ${number + 1}: ${what}: ${e}`);
            for (const e of slide.querySelectorAll(':not(aside, aside *)')) {
                const box = e.getBoundingClientRect(), size = getComputedStyle(e).fontSize;
                const html = e.outerHTML.slice(0, 200);
                if (box.right > 1280.5 || box.bottom > 720.5 || box.left < 0 || box.top < 0)
                    say('outside', html);
                if (e.scrollWidth > e.clientWidth + 1 && e.matches('pre, div'))
                    say('cut off', html);
                if (e.matches('pre, p, td') && parseFloat(size) < 14)
                    say(`${size} is small`, html);
                if (e.matches("img") && box.height < 240) say('low', e.alt);
            }
        }
        return wrong;
    }""",
        len(numbers),
    )
    assert wrong == []


def test_axe_finds_nothing_on_slides(opened, axe):
    page, numbers = deck_opened(opened, "03_loss")  # all slides of all decks: test_decks.py
    for number in numbers[::10]:
        page.evaluate(f"Reveal.slide({number})")
        assert violations(page, axe, every=False) == [], f"slide {number + 1}"


def test_the_speaker_sees_the_notes_in_a_window_of_their_own(opened):
    page = opened("slides/03_loss.html")
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    with page.expect_popup() as popup:
        page.keyboard.press("s")
    notes = popup.value.locator(".speaker-controls-notes")
    # code that is folded
    notes.filter(has_text="set_num_threads").wait_for(timeout=180_000)
    popup.value.close()
