"""The five steps one at a time, and the sliders over stored runs, on pages opened from files."""

import csv
import math
import re
import shutil
import statistics

import pytest
import torch
from browser import axe_script, chromium, violations
from conftest import PROJECT
from playwright.sync_api import expect

from mnist_nb.live.five_steps import press_all
from mnist_nb.loading import load, split_loaders
from mnist_nb.model import build_model
from mnist_nb.tools.site.pages import build_site

STEPS, RATES, RUNS = "05_training_loop", "02_optimizer", "08_experiments"
LR, SEED = 0.25, 67  # as in the chapter
PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    course, folder = tmp_path_factory.mktemp("course"), tmp_path_factory.mktemp("site")
    for name in (STEPS, RATES, RUNS):
        shutil.copy(PROJECT / "notebooks" / f"{name}.ipynb", course)
    build_site(folder, course, student=course)
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def unwanted():
    """Addresses that the pages asked for besides their own, and errors of their scripts."""
    return []


@pytest.fixture(scope="module")
def opened(browser, site, unwanted):
    def open_page(name, **options):
        page = browser.new_context(offline=True, **options).new_page()
        address = (site / f"{name}.html").as_uri()
        page.set_default_timeout(180_000)  # a busy machine is slow
        page.on("request", lambda sent: sent.url == address or unwanted.append(sent.url))
        page.on("pageerror", lambda error: unwanted.append(error))
        page.goto(address)
        return page

    return open_page


def part(page):
    return page.locator(".mnist-nb-live")


# ---- The five steps


@pytest.fixture(scope="module")
def steps_page(opened):
    return opened(STEPS)


@pytest.fixture
def steps(steps_page):
    """The stepper before its first press, no step left out."""
    whole = part(steps_page)
    for box in whole.get_by_role("checkbox").all():
        box.uncheck()
    whole.get_by_role("button", name="Start again").click()
    return whole


@pytest.fixture(scope="module")
def batch(data_root):
    """The second batch of the walkthrough's seed, which the chapter steps through."""
    torch.manual_seed(SEED)
    build_model()
    batches = iter(split_loaders(load())[0])
    next(batches)
    return next(batches)


def rows(whole) -> list[list[float]]:
    """The numbers in the table of the last presses, all their digits."""
    return whole.locator(".readings tbody tr").evaluate_all(
        "rows => rows.map(r => [...r.querySelectorAll('[data-value]')]"
        ".map(cell => +cell.dataset.value))"
    )


def in_python(batch, rounds: int, order: str) -> list[list[float]]:
    return [list(row.values()) for row in press_all(*batch, LR, rounds, order)]


def test_each_press_shows_pythons_numbers_to_the_last_bit(steps, batch):
    expected = in_python(batch, 2, "12345")
    assert rows(steps) == expected[:1]
    for count in range(2, len(expected) + 1):
        steps.get_by_role("button", name="Next step").click()
        assert rows(steps) == expected[max(0, count - 6) : count]
        shown = steps.locator(".readings tbody tr").last.locator("[data-value]").all_inner_texts()
        assert shown == [f"{number:.4f}" for number in expected[count - 1]]


@pytest.mark.parametrize(("missing", "order"), [(3, "1245"), (4, "1235"), (5, "1234")])
def test_a_step_that_is_left_out_leaves_behind_what_python_says(steps, batch, missing, order):
    steps.get_by_role("listitem").nth(missing - 1).get_by_role("checkbox").check()
    steps.get_by_role("button", name="5 rounds").click()
    expected, all_five = in_python(batch, 5, order), in_python(batch, 5, "12345")
    assert rows(steps) == expected[-6:]
    said = steps.get_by_role("status").inner_text()
    assert f"{expected[-1][0]:.4f}" in said and f"{all_five[-1][0]:.4f}" in said
    steps.get_by_role("button", name="Start again").click()
    assert rows(steps) == expected[:1]


def test_a_press_marks_and_redraws_what_the_step_has_changed_and_nothing_else(steps):
    cards = ("activations", "loss", "gradients", "weights")

    def drawn():
        return {c: steps.locator(f".{c} canvas").evaluate("c => c.toDataURL()") for c in cards}

    steps.get_by_role("button", name="Finish the round").click()  # so that clear has work to do
    changed, read, before = [], [], drawn()
    for _ in range(5):
        steps.get_by_role("button", name="Next step").click()
        now = drawn()
        changed.append([card for card in cards if now[card] != before[card]])
        marks = {c: steps.locator(f".{c} em").inner_text() for c in cards}
        assert [c for c in cards if marks[c] == "changed"] == changed[-1]
        read.append([c for c in cards if marks[c] == "read"])
        before = now
    assert changed == [["activations"], ["loss"], ["gradients"], ["gradients"], ["weights"]]
    backward = ["activations", "loss", "weights"]  # a gradient by weights multiplies activations
    assert read == [["weights"], ["activations"], [], backward, ["gradients"]]


def test_the_steps_are_done_and_left_out_by_keyboard_and_each_press_is_told(steps):
    page = steps.page
    steps.get_by_role("checkbox").first.focus()
    page.keyboard.press("Space")  # no clear
    said = set()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(steps.get_by_role("button", name="Next step")).to_be_focused()
    for number in (2, 4, 5, 1, 2, 4):  # the next one
        page.keyboard.press("Enter")
        said.add(steps.get_by_role("status").inner_text())
        expect(steps.locator("[aria-current=step]")).to_contain_text(f"{number}.")
    assert len(said) == 6 and steps.get_by_role("status").count() == 1


def test_on_a_phone_what_a_press_changes_the_buttons_and_the_curve_are_on_the_screen(opened):
    whole = part(opened(STEPS, **PHONE))
    whole.locator(".cards").evaluate("e => scrollBy(0, e.getBoundingClientRect().top - 52)")
    place = whole.page.evaluate("scrollY")
    bar = whole.get_by_role("button").first

    def below(where):
        box = where.bounding_box()
        return box["y"] + box["height"]

    for _ in range(5):
        bar.click()
        for shown in (whole.locator("[data-what=changed]"), whole.locator(".losses svg")):
            assert shown.bounding_box()["y"] >= 50, "below the contents"
            assert below(shown) <= bar.bounding_box()["y"]
        assert below(whole.get_by_role("status")) <= 844
    assert whole.page.evaluate("scrollY") == place, "the page has not moved"


def test_on_a_phone_boxes_and_sliders_are_large_enough_for_a_thumb(opened):
    for name, what in ((STEPS, ".steps label, button"), (RUNS, "input, select")):
        found = part(opened(name, **PHONE)).locator(what).all()
        boxes = [each.bounding_box() for each in found]
        assert len(boxes) > 3 and min(box["height"] for box in boxes) >= 32
    assert min(box["width"] for box in boxes[1:]) >= 300


# ---- The stored runs


def stored(name: str) -> list[dict[str, str]]:
    with (PROJECT / "studies" / f"{name}.csv").open() as file:
        return list(csv.DictReader(line for line in file if line[0] != "#"))


# name of the view -> the runs' file, the settings of the sliders, and which runs these are
VIEWS = {
    "epochs": ("seed_study", ("epoch", "dropout"), {}),
    "neurons": ("experiments", ("hidden",), {"experiment": {"width"}}),
    "dropout": ("experiments", ("dropout", "eval_mode"), {"experiment": {"dropout"}}),
    "training images": (
        "experiments", ("train_size", "experiment"), {"experiment": {"data", "steps"}},
    ),
    "learning rate": ("experiments", ("lr", "batch_size"), {"experiment": {"rates"}}),
}  # fmt: skip
# moves the sliders to all places at which they stop, and keeps what the part then shows
EVERYWHERE = """part => {
    const sliders = [...part.querySelectorAll("input")], found = [];
    const visit = (k) => {
        if (k == sliders.length) return found.push({
            values: sliders.map((slider) => slider.getAttribute("aria-valuetext")),
            said: part.querySelector("[role=status]").textContent,
            rows: [...part.querySelectorAll("tbody tr")].filter((row) => row.checkVisibility())
                .map((row) => [...row.cells].map((cell) => cell.textContent)),
        });
        for (let place = 0; place <= sliders[k].max; place++) {
            sliders[k].value = place;
            sliders[k].dispatchEvent(new Event("input", {bubbles: true}));
            visit(k + 1);
        }
    };
    visit(0);
    return found;
}"""


def plain(value: str) -> str:
    """A setting's value as the table and the slider both have it."""
    value = {"True": "off", "False": "on"}.get(value, value.replace(",", ""))
    return value if value.isalpha() else str(float(value))


def by_settings(runs: list[dict], settings) -> dict[tuple, list[float]]:
    """Values of the settings -> the percentages of the runs with them, in the order of seeds."""
    groups = {}
    for run in sorted(runs, key=lambda run: int(run["seed"])):
        group = groups.setdefault(tuple(plain(run[setting]) for setting in settings), [])
        group.append(100 * float(run["val_accuracy"]))
    return groups


def check(said: str, rows: list[list[str]], groups: list[list[float]]) -> None:
    """The table and the sentence give these groups of runs, and no more than follows from them."""
    if len(groups[0]) > 10:
        assert rows == []
    else:
        numbers = [[f"{value:.2f}" for value in group] for group in groups]
        assert [row[1:] for row in rows[: len(groups)]] == numbers
        assert len(rows) == (1 if len(groups) == 1 else 3)
    expected = [v for g in groups for v in (statistics.mean(g), min(g), max(g))]
    counts = None
    if len(groups) == 2 and groups[0] is not groups[1]:
        gaps = [b - a for a, b in zip(*groups, strict=True)]
        error = statistics.stdev(gaps) / math.sqrt(len(gaps))
        errors = abs(statistics.mean(gaps)) / error
        expected += [statistics.mean(gaps), error, errors]
        counts = errors > 3
    found = re.findall(r"[-+−]?\d+\.\d+", re.sub(r"[^%:]*: on", "", said))  # without settings
    assert len(found) == len(expected), said
    for text, value in zip(found, expected, strict=True):
        unit = 10.0 ** -len(text.partition(".")[2])
        assert float(text.replace("−", "-")) == pytest.approx(value, abs=0.5001 * unit), said
    assert ("It counts" in said, "It does not count" in said) == (counts is True, counts is False)


def test_chapter_02_shows_the_stored_runs_of_each_rate_and_batch_size_and_no_other_number(opened):
    whole = part(opened(RATES))
    groups = by_settings(
        [run for run in stored("experiments") if run["experiment"] == "rates"],
        ("lr", "batch_size"),
    )
    shown = whole.evaluate(EVERYWHERE)
    for at in shown:
        check(at["said"], at["rows"], [groups[tuple(map(plain, at["values"]))]])
        assert {*at["values"]} <= {*re.findall(r"[\d.]*\d", at["said"])}, "which runs these are"
    assert len(shown) == len(groups) == 24
    heights = whole.locator("svg circle").evaluate_all(
        "all => all.map(c => +c.getAttribute('cy'))"
    )
    drawn = [value for rate in sorted({key[0] for key in groups}, key=float)
             for value in groups[rate, plain(at["values"][1])]]  # fmt: skip
    assert len(heights) == len(drawn) == 30
    top, bottom = min(heights), max(heights)
    best, worst = max(drawn), min(drawn)
    for height, value in zip(heights, drawn, strict=True):
        assert (height - top) / (bottom - top) == pytest.approx(
            (best - value) / (best - worst), abs=0.01
        )


@pytest.mark.parametrize("view", VIEWS)
def test_chapter_08_compares_any_two_settings_by_its_rule_from_the_stored_runs(runs_page, view):
    file, settings, which = VIEWS[view]
    runs = [r for r in stored(file) if all(r[key] in ok for key, ok in which.items())]
    groups = by_settings(runs, settings)
    whole = part(runs_page)
    whole.get_by_role("combobox").select_option(view)
    shown = whole.evaluate(EVERYWHERE)
    for at in shown:
        first, second, *other = map(plain, at["values"])
        check(at["said"], at["rows"], [groups[first, *other], groups[second, *other]])
    assert {(plain(at["values"][0]), *map(plain, at["values"][2:])) for at in shown} == set(groups)
    assert sum(map(len, groups.values())) == len(runs)


@pytest.fixture(scope="module")
def runs_page(opened):
    return opened(RUNS)


def test_sliders_and_their_choice_are_moved_by_keyboard(runs_page):
    whole, page = part(runs_page), runs_page
    whole.get_by_role("combobox").select_option("learning rate")
    whole.get_by_role("combobox").focus()
    page.keyboard.press("Tab")
    first = whole.get_by_role("slider").first
    expect(first).to_be_focused()
    before = whole.get_by_role("status").inner_text()
    page.keyboard.press("Home")
    assert first.get_attribute("aria-valuetext") == "0.003"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert first.get_attribute("aria-valuetext") == "0.03"
    assert whole.get_by_role("status").inner_text() != before
    expect(first).to_have_accessible_name(re.compile("learning rate"))


# ---- All three pages


@pytest.mark.parametrize("name", [STEPS, RATES, RUNS])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_in_use_on_a_phone_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    opened, name, theme
):
    page = opened(name, color_scheme=theme, **PHONE)
    whole = part(page)
    if name == STEPS:
        whole.get_by_role("checkbox").first.check()
        for _ in range(3):
            whole.get_by_role("button", name="Next step").click()
    else:
        if name == RUNS:  # its widest table
            whole.get_by_role("combobox").select_option("training images")
        whole.get_by_role("slider").first.press("Home")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert whole.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert violations(page, axe_script(), every=False) == []


@pytest.mark.parametrize("name", [STEPS, RATES, RUNS])
def test_without_javascript_there_are_a_picture_with_its_text_and_a_sentence(opened, name):
    whole = part(opened(name, java_script_enabled=False))
    picture = whole.get_by_role("img")
    expect(picture).to_be_visible()
    assert len(picture.get_attribute("alt")) > 100
    expect(whole.locator("figcaption")).to_contain_text("It works once you have run")
    assert whole.get_by_role("button").count() == whole.get_by_role("slider").count() == 0


@pytest.mark.parametrize("name", [STEPS, RATES, RUNS])
def test_paper_has_the_picture_with_its_text_until_the_part_is_used(opened, name):
    page = opened(name)
    page.emulate_media(media="print")
    paper = page.locator(".paper img")
    expect(paper).to_be_visible()
    expect(part(page)).not_to_be_visible()
    page.emulate_media(media="screen")
    expect(paper).not_to_be_visible()
    if name == STEPS:
        part(page).get_by_role("button", name="Next step").click()
    else:
        part(page).get_by_role("slider").first.press("End")
    page.emulate_media(media="print")
    expect(part(page).get_by_role("status")).to_be_visible()
    expect(paper).not_to_be_visible()


def test_no_page_has_asked_for_anything_or_stumbled(opened, unwanted):
    assert unwanted == []


def test_a_page_is_under_a_megabyte(site):
    sizes = {name: (site / f"{name}.html").stat().st_size for name in (STEPS, RATES, RUNS)}
    assert max(sizes.values()) < 1_000_000, sizes
