"""The slides: what stands on one, what goes together, on a phone, and as PDF."""

import itertools
import re

import nbformat
import pytest
from browser import axe_script, chromium, violations
from bs4 import BeautifulSoup
from click.testing import CliRunner
from conftest import CHAPTERS
from in_use import LOCAL, MINUTES, opened_by_keys, slide_states
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mnist_nb.tools.cli import main
from mnist_nb.tools.site import pdf
from mnist_nb.tools.site.slides import build_slides

WORDS = "One sentence of the usual length, which says a thing and ends. "


@pytest.fixture(scope="module")
def decks(tmp_path_factory) -> dict:
    """Name -> file, of all chapters."""
    return {path.stem: path for path in build_slides(tmp_path_factory.mktemp("decks"))}


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def said(text: str) -> str:
    return re.sub(r"[\W_]+", "", text)


def sections_of(path) -> list[BeautifulSoup]:
    """The slides, without their notes."""
    soup = BeautifulSoup(path.read_text(), "html.parser")
    for notes in soup.find_all("aside"):
        notes.decompose()
    return soup.select("section")


def deck_of(folder, *cells) -> list[str]:
    """The texts of the slides of a notebook with these cells."""
    nbformat.write(new_notebook(cells=[*cells]), folder / "n.ipynb")
    (path,) = build_slides(folder / "deck", [folder / "n.ipynb"])
    return [section.get_text(" ") for section in sections_of(path)]


def asked(question: str, lines: int) -> list:
    output = new_output("stream", text=f"{question}: so much\n")
    code = new_code_cell("\n".join(f"line_{n}()" for n in range(lines)), outputs=[output])
    return [new_markdown_cell(f"{WORDS}{question}?"), code]


def test_every_sentence_is_shown_after_the_one_before_it(decks):
    for chapter in CHAPTERS:
        texts = []
        for section in sections_of(decks[chapter.stem]):
            for tag in section.find_all(["h1", "h2"]):
                tag.decompose()
            texts.append(said(" ".join(e.get_text() for e in section.select("p, li"))))
        whole = "".join(texts)
        for cell in nbformat.read(chapter, as_version=4).cells:
            if cell.cell_type != "markdown":
                continue
            source = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.DOTALL)
            for block in re.split(r"\n\n", source):
                if re.match(r"\$\$|[#|<>`!]|[-*] |\d+\.", block):
                    continue
                plain = re.sub(r"\]\([^)]*\)", "", block)
                parts = [said(part) for part in re.split(r"\$[^$]*\$", plain)]
                assert re.search(".{0,60}?".join(map(re.escape, parts)), whole), block


def test_code_its_question_and_what_it_shows_are_on_one_slide(tmp_path, decks):
    texts = deck_of(tmp_path, new_markdown_cell("# Sums"), *asked("How many", 9),
                    *asked("How much", 9), *asked("How often", 9))  # fmt: skip
    for question in ("How many", "How much", "How often"):
        (text,) = [text for text in texts if f"{question} ?" in text or f"{question}?" in text]
        assert f"{question}: so much" in text
    assert len(texts) > 1
    for path in decks.values():  # and no figure starts a slide after code
        shown = [[tag for tag in section.find_all(True, recursive=False)
                  if tag.name not in ("h1", "h2")] for section in sections_of(path)]  # fmt: skip
        for before, slide in itertools.pairwise(filter(None, shown)):
            code = "highlight" in before[-1].get("class", ())
            assert not (code and slide[0].name == "figure"), path


def test_short_sections_share_a_slide_and_long_ones_do_not(tmp_path):
    texts = deck_of(tmp_path, new_markdown_cell("# Title\n\nWhy."),
                    new_markdown_cell(f"## Long\n\n{WORDS * 22}"),
                    new_markdown_cell(f"## Short\n\n{WORDS}"),
                    new_markdown_cell(f"## Next\n\n{WORDS}"))  # fmt: skip
    assert [re.findall("Title|Long|Short|Next", text) for text in texts] == [
        ["Title"], ["Long"], ["Short", "Next"]]  # fmt: skip


def test_few_slides_are_half_empty_and_never_many_in_a_row(browser, decks):
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(120_000)
    for name, path in decks.items():
        page.goto(f"{path.as_uri()}?print-pdf")
        page.wait_for_function(
            "[...document.querySelectorAll('section')].every(e => e.style.fontSize)"
        )
        bottoms = page.evaluate("""[...document.querySelectorAll('section')].map(slide =>
            slide.matches('.beside') ? 720 : Math.max(...[...slide.children].map(e =>
                e.offsetTop + e.offsetHeight)))""")
        empty = "".join("x" if bottom < 360 else "." for bottom in bottoms)
        assert empty.count("x") <= len(empty) / 5 and "xxx" not in empty, (name, empty)
    page.close()


@pytest.mark.parametrize("scripted", [True, False])
def test_on_a_phone_the_slides_stand_below_each_other_in_letters_to_read(browser, decks, scripted):
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, java_script_enabled=scripted
    )
    page = context.new_page()
    page.goto(decks["03_loss"].as_uri())
    last = page.locator("section").last
    last.scroll_into_view_if_needed()
    box = last.bounding_box()
    assert box["x"] >= 0 and box["width"] <= 390 and last.locator("p, li").first.is_visible()
    if scripted:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        size = page.evaluate("getComputedStyle(document.querySelector('section p')).fontSize")
        assert float(size.removesuffix("px")) >= 16
    context.close()


def test_axe_finds_nothing_in_the_overview_and_the_list_of_keys(browser, decks):
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(decks["03_loss"].as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    page.evaluate("Reveal.slide(Reveal.getTotalSlides() - 1)")  # the title is not near
    for state, _ in opened_by_keys(page):
        assert violations(page, axe_script(), every=False) == [], state
    page.close()


@pytest.mark.whole
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", [path.stem for path in CHAPTERS])
def test_on_every_slide_and_all_that_a_key_opens_axe_finds_nothing_and_a_deck_loads_only_files(
    browser, decks, name, width
):
    context = browser.new_context(offline=True, viewport={"width": width, "height": 720})
    context.set_default_timeout(MINUTES)
    wrong, found, axe = [], [], axe_script()
    context.on("request", lambda sent: LOCAL.match(sent.url) or wrong.append(sent.url))
    context.on("weberror", lambda error: wrong.append(error.error))
    page = context.new_page()
    page.goto(decks[name].as_uri())
    for state, new in slide_states(page):
        # a deck has no dark colours of its own, and the overview shows all of its texts once more
        for scheme in ["light"] if new == ".present" else ["light", "dark"]:
            page.emulate_media(color_scheme=scheme)
            found += [(state, scheme, v) for v in violations(page, axe, True, new)]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append((state, "scrolls sideways"))
    context.close()
    assert (found, wrong) == ([], [])


def test_a_deck_is_printed_with_a_page_for_each_slide(decks):
    if pdf.browser() is None:
        pytest.skip("no Chromium here: apt-get install chromium, then make test again")
    printed = pdf.write_pdf(decks["03_loss"]).read_bytes()
    assert len(re.findall(rb"/Type /Page\b", printed)) == len(sections_of(decks["03_loss"]))


def test_without_a_browser_the_slides_are_there_and_a_sentence_says_what_to_do(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(pdf, "browser", lambda: None)
    nbformat.write(new_notebook(cells=[new_markdown_cell("# One")]), tmp_path / "n.ipynb")
    words = ["slides", "--pdf", "-o", str(tmp_path / "out"), str(tmp_path / "n.ipynb")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and (tmp_path / "out" / "n.html").is_file()
    assert "?print-pdf" in done.stderr and done.stderr.count("\n") == 1


def test_a_question_is_on_the_slide_of_the_sentences_that_lead_to_it(tmp_path):
    lead = "The first sum is larger. "
    texts = deck_of(tmp_path, new_markdown_cell(f"# Sums\n\n{WORDS * 12}"),
                    new_markdown_cell(f"{lead}By how much?"), asked("So", 9)[1])  # fmt: skip
    (text,) = [text for text in texts if "By how much?" in text]
    assert lead.strip() in text
