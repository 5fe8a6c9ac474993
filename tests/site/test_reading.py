"""What a reader does with a page in a browser: find their way, search, copy, enlarge, print."""

import posixpath

import nbformat
import pytest
from browser import axe_script, chromium, violations
from bs4 import BeautifulSoup
from conftest import PROJECT
from fontTools.ttLib import TTFont
from nbformat.v4 import new_code_cell, new_notebook, new_output
from test_pages import small_course

from mnist_nb.tools.site.html import MATH_FONT
from mnist_nb.tools.site.pages import build_site

CHAPTER, EXERCISES = "03_loss.html", "exercises/03_loss.html"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A chapter, its exercises and the glossary."""
    folder, course = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("course")
    build_site(folder, small_course(course), course / "none")
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def window(browser):
    context = browser.new_context(offline=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context.new_page()
    context.close()


@pytest.fixture
def opened(window, site):
    """Open a page; afterwards there was no error, and nothing was asked for but what is there."""
    asked, errors = [], []

    def open_page(name, size=DESK, scheme="light"):
        window.goto("about:blank")
        window.set_viewport_size(size)
        window.emulate_media(media="screen", color_scheme=scheme)
        window.goto((site / name).as_uri())
        window.asked = asked
        return window

    listeners = {
        "request": lambda request: asked.append(request.url),
        "pageerror": lambda error: errors.append(error),
    }
    for event, listener in listeners.items():
        window.on(event, listener)
    yield open_page
    for event, listener in listeners.items():
        window.remove_listener(event, listener)
    known = (site.as_uri(), "data:", "about:")
    assert not errors and all(url.startswith(known) for url in asked)


@pytest.fixture
def silent(browser, site):
    """The same without JavaScript."""
    context = browser.new_context(offline=True, java_script_enabled=False, viewport=PHONE)
    yield lambda name: (page := context.new_page()).goto((site / name).as_uri()) and page
    context.close()


def soup_of(path):
    return BeautifulSoup(path.read_text(), "html.parser")


def now(page, site) -> str:
    return page.url.partition("#")[0].removeprefix(f"{site.as_uri()}/")


def test_the_contents_list_every_page_and_the_sections_of_this_one(site):
    for name in (CHAPTER, EXERCISES, "glossary.html"):
        soup = soup_of(site / name)
        links = soup.select(".contents details li > a:not(.sections a)")
        targets = {posixpath.normpath(f"{name}/../{link['href']}") for link in links}
        assert targets == {CHAPTER, EXERCISES, "glossary.html"}
        (here,) = [link for link in links if link.get("aria-current") == "page"]
        assert posixpath.normpath(f"{name}/../{here['href']}") == name
        heads = [f"#{head['id']}" for head in soup.main.find_all("h2")]
        assert [link["href"] for link in here.parent.select(".sections a")] == heads


def test_a_chapter_leads_to_its_exercises_and_they_lead_back(opened, site):
    page = opened(CHAPTER)
    page.locator("header .twin a").click()
    assert now(page, site) == EXERCISES
    assert page.locator("header a").first.inner_text().startswith("The chapter"), "the way back"
    assert page.locator("header .needs").is_visible(), "what solving takes"
    page.locator("header .twin a").click()
    assert now(page, site) == CHAPTER


def test_on_a_phone_the_contents_open_and_close_and_stay_in_reach(opened):
    page = opened(CHAPTER, PHONE)
    link = page.locator(".sections a").nth(3)
    assert not link.is_visible()
    page.locator(".contents > details > summary").click()
    link.click()
    heading = page.locator("main h2").nth(3)
    page.wait_for_function("scrollY > 1000")
    assert not link.is_visible() and page.locator(".contents summary").first.is_visible()
    bar = page.locator(".contents").bounding_box()
    assert bar["height"] < 60 and heading.bounding_box()["y"] >= bar["height"], "not hidden by it"
    page.locator(".tools").get_by_text("Top").click()
    page.wait_for_function("scrollY === 0")


def test_on_a_phone_what_the_page_itself_has_to_press_is_high_enough_for_a_finger(opened):
    parts = "main summary, .downloads a, .tools a, .tools button, .contents > details > summary"
    for name in (CHAPTER, "index.html"):
        found = opened(name, PHONE).locator(parts)
        boxes = [(part.inner_text(), part.bounding_box()) for part in found.all()]
        seen = {text: box["height"] for text, box in boxes if box}
        assert seen and min(seen.values()) >= 32, seen


SHADOW = "e => getComputedStyle(e).boxShadow.replace('none', '')"


def test_what_goes_on_beyond_its_edge_shows_a_shadow_there_until_it_is_scrolled_to_its_end(opened):
    page = opened(CHAPTER, PHONE)
    page.evaluate("() => document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
    boxes = page.locator("main :is(pre, .scroll)").all()
    wider = [box for box in boxes if box.evaluate("e => e.scrollWidth > e.clientWidth + 1")]
    shown = [box for box in boxes if box.evaluate(SHADOW)]
    assert len(shown) == len(wider) > 3
    right = wider[0].evaluate(SHADOW)
    wider[0].evaluate("e => e.scrollTo(9999, 0)")
    page.wait_for_function("e => e.classList.contains('on-left')", arg=wider[0].element_handle())
    assert wider[0].evaluate(SHADOW) not in ("", right)
    contents = page.locator(".contents > details")
    contents.locator("> summary").click()
    page.set_viewport_size({"width": 390, "height": 400})
    page.wait_for_function("document.querySelector('.contents > details.on-below')")
    assert contents.evaluate(SHADOW)
    contents.evaluate("e => e.scrollTo(0, 9999)")
    page.wait_for_function("!document.querySelector('.contents > details.on-below')")


def test_a_formula_casts_no_shadow_where_its_signs_reach_below_its_box(opened):
    page = opened(CHAPTER, PHONE)
    box = page.locator("main .scroll:has(math)").first
    box.evaluate("e => { e.style.height = '10px'; }")
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    assert box.evaluate("e => e.scrollHeight > 20 && !e.matches('.on-below')")


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_nothing_in_the_bar_moves_when_search_arrives(opened, site, size):
    soup = soup_of(site / CHAPTER)
    soup.find_all("script")[-1].decompose()
    (site / "early.html").write_text(str(soup))
    early, late = (
        opened(name, size).locator(".tools a").bounding_box() for name in ("early.html", CHAPTER)
    )
    assert {k: round(v) for k, v in early.items()} == {k: round(v) for k, v in late.items()}


def test_where_there_is_no_keyboard_no_keys_are_offered(browser, site):
    context = browser.new_context(offline=True, viewport=PHONE, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    assert page.get_by_role("button", name="Search").is_visible()
    assert not page.locator(".keys").is_visible()
    context.close()


def test_on_a_wide_screen_the_contents_stand_beside_the_text_and_mark_its_section(opened):
    page = opened(CHAPTER)
    box, text = (page.locator(part).bounding_box() for part in (".contents", "main"))
    assert box["x"] + box["width"] <= text["x"] and page.locator(".sections").is_visible()
    page.locator(".sections a").nth(3).click()
    marked = page.locator(".sections [aria-current=true]")
    page.wait_for_function("document.querySelector('.sections [aria-current]')")
    assert marked.get_attribute("href") == page.locator(".sections a").nth(3).get_attribute("href")


def test_without_javascript_the_contents_open_and_nothing_is_there_that_does_nothing(silent):
    page = silent(CHAPTER)
    assert page.locator("button, dialog, input").count() == 0
    link = page.locator(".sections a").nth(1)
    assert not link.is_visible()
    page.locator(".contents > details > summary").click()
    assert link.is_visible()
    assert page.get_by_role("link", name="Back to top").is_visible()


def test_the_arrows_turn_pages_unless_something_else_needs_them(opened, site):
    page = opened(CHAPTER)
    page.keyboard.press("ArrowRight")
    page.wait_for_url(f"**/{EXERCISES}")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/site*/{CHAPTER}")
    page.locator("pre[tabindex]:visible").first.focus()  # it scrolls sideways
    page.keyboard.press("ArrowRight")
    page.keyboard.press("/")  # a field, which moves its caret
    page.keyboard.type("loss")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    page.locator(".keys input").uncheck()
    page.locator("body").press("ArrowRight")
    page.keyboard.press("/")
    assert now(page, site) == CHAPTER and not page.locator("dialog.search").is_visible()
    page.locator(".keys input").check()


def test_a_heading_is_a_link_to_itself(opened):
    page = opened(CHAPTER)
    page.locator("main h2 a").nth(2).click()
    name = page.locator("main h2").nth(2).get_attribute("id")
    assert page.evaluate("decodeURIComponent(location.hash)") == f"#{name}"


def test_a_code_cell_is_copied_as_the_notebook_has_it(opened):
    page = opened(CHAPTER)
    cells = nbformat.read(PROJECT / "notebooks" / "03_loss.ipynb", as_version=4).cells
    source = next(c.source for c in cells if "def push" in c.source)
    code = page.locator(".highlight", has_text="def push").first
    code.hover()
    code.get_by_role("button").click()
    page.wait_for_function("document.querySelector('body > [role=status]').textContent")
    assert page.evaluate("navigator.clipboard.readText()") == source


def test_what_a_notebook_folds_is_folded(tmp_path):
    output = new_output("stream", text="drawn\n")
    cell = new_code_cell("draw()", outputs=[output], metadata={"jupyter": {"source_hidden": True}})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    main = soup_of(build_site(tmp_path / "site", tmp_path, tmp_path / "none")[1]).main
    assert "draw()" in main.details.extract().get_text() and "drawn" in main.get_text()


def test_folded_cells_that_follow_each_other_are_one_fold_with_all_their_code(tmp_path):
    folded = {"jupyter": {"source_hidden": True}}
    output = new_output("stream", text="drawn\n")
    cells = [new_code_cell(f"draw({k})", metadata=folded) for k in range(4)]
    cells[2].outputs = [output]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    main = soup_of(build_site(tmp_path / "site", tmp_path, tmp_path / "none")[1]).main
    folds = [[code.get_text().strip() for code in fold.find_all("pre")]
             for fold in main.find_all("details")]  # fmt: skip
    assert folds == [["draw(0)", "draw(1)", "draw(2)"], ["draw(3)"]]


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_a_figure_is_enlarged_by_keyboard_and_escape_leads_back(opened, size):
    page = opened(CHAPTER, size)
    figure, larger = page.locator("figure").first, page.locator(".enlarged img")
    button = figure.get_by_role("button")
    button.press("Enter")
    small = figure.locator("img").first
    assert larger.bounding_box()["width"] > 1.5 * small.bounding_box()["width"]
    assert larger.get_attribute("alt") == small.get_attribute("alt")
    frame, picture = page.locator(".frame").bounding_box(), larger.bounding_box()
    above = picture["y"] - frame["y"]
    below = frame["height"] - above - picture["height"]
    assert abs(above - below) < 2 or above == 0, "in the middle, or from the top if it is higher"
    assert page.locator(".wider").is_visible() == (picture["width"] > frame["width"] + 1)
    page.keyboard.press("Escape")
    assert not larger.is_visible()
    assert button.evaluate("e => e === document.activeElement")
    small.click()
    page.locator(".enlarged").get_by_role("button", name="Close").click()
    assert not larger.is_visible()


def test_search_finds_sections_of_all_pages_and_leads_there_by_keyboard(opened, site):
    page = opened(EXERCISES)
    assert not [url for url in page.asked if url.endswith(".js")], "not before it is needed"
    page.keyboard.press("/")
    page.keyboard.type("Logarithm nat")
    results = page.locator(".found a")
    results.first.wait_for()
    assert [url for url in page.asked if url.endswith(".js")] == [f"{site.as_uri()}/search.js"]
    pages = {link.get_attribute("href").partition("#")[0] for link in results.all()}
    assert {f"../{CHAPTER}", "../glossary.html"} <= pages
    assert "logarithm" in results.first.locator("mark").inner_text().lower()
    page.keyboard.press("ArrowDown")
    target = results.first.get_attribute("href").removeprefix("../")
    assert results.first.evaluate("e => e === document.activeElement")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{target}")


def test_search_says_when_there_is_nothing_and_takes_signs_for_signs(opened):
    page = opened("index.html")
    page.get_by_role("button", name="Search").click()
    page.keyboard.type("([.*")
    count = page.locator(".count")
    page.wait_for_function("/not found/i.test(document.querySelector('.count').textContent)")
    page.locator(".search input").fill("torch.tensor([200.0")
    page.locator(".found a").first.wait_for()
    assert "1" in count.inner_text()


def test_every_sign_of_a_formula_is_in_the_font_that_comes_with_the_page(opened, site):
    known = TTFont(MATH_FONT).getBestCmap()
    for name in (CHAPTER, EXERCISES, "slides/03_loss.html"):
        soup = soup_of(site / name)
        assert {ord(sign) for math in soup.find_all("math") for sign in math.get_text()} <= {
            *known
        }
    page = opened(CHAPTER)
    page.wait_for_function("[...document.fonts].every(font => font.status === 'loaded')")
    assert not page.evaluate("document.fonts.size === 0")
    assert "Notebook Math" not in (site / "index.html").read_text(), "only where it is needed"


def test_on_paper_all_is_unfolded_and_code_stays_with_its_output(opened):
    page = opened(CHAPTER)
    page.emulate_media(media="print")
    folded = page.locator("main details .highlight, main details p")
    assert folded.count() > 5
    boxes = [part.bounding_box() for part in folded.all()]
    assert all(box and box["height"] > 10 for box in boxes)
    code = page.locator("main > .highlight").first
    assert code.evaluate("e => getComputedStyle(e).breakAfter") == "avoid"
    assert not page.locator("button:visible, .contents:visible").count()


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark")])
def test_axe_finds_nothing_while_a_reader_searches_enlarges_and_looks_through_contents(
    opened, size, scheme
):
    axe = axe_script()
    page = opened(CHAPTER, size, scheme)
    contents = page.locator(".contents > details")
    if contents.get_attribute("open") is None:
        contents.locator("> summary").click()
    for group in contents.locator("details > summary").all():
        if not group.evaluate("e => e.parentElement.open"):
            group.click()
    assert violations(page, axe, every=False) == []
    page.locator("figure").first.get_by_role("button").press("Enter")
    assert violations(page, axe, every=False) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Search").click()
    page.keyboard.type("loss")
    page.locator(".found a").first.wait_for()
    assert violations(page, axe, every=False) == []
