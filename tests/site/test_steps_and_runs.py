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
PHONE = {"viewport": {"width": 390, "height": 800}}


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
        page.on("request", lambda sent: sent.url == address or unwanted.append(sent.url))
        page.on("pageerror", unwanted.append)
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
    changed, before = [], drawn()
    for _ in range(5):
        steps.get_by_role("button", name="Next step").click()
        now = drawn()
        changed.append([card for card in cards if now[card] != before[card]])
        marked = [c for c in cards if steps.locator(f".{c} em").inner_text() == "changed"]
        assert marked == changed[-1]
        before = now
    assert changed == [["activations"], ["loss"], ["gradients"], ["gradients"], ["weights"]]


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


# ---- The stored runs


def stored(name: str) -> list[dict[str, str]]:
    with (PROJECT / "studies" / f"{name}.csv").open() as file:
        return list(csv.DictReader(line for line in file if line[0] != "#"))


def number(text: str) -> float:
    return float(text.replace("−", "-"))


SIGNED = re.compile(r"[-+−]?\d+\.\d+")
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
WORDS = {"on": "False", "off": "True"}
MOVE = """(input, place) => {
    input.value = place;
    input.dispatchEvent(new Event("input", {bubbles: true}));
}"""


def same(shown: str, stored: str) -> bool:
    """Is a slider's value that of the table?"""
    shown = WORDS.get(shown, shown.replace(",", ""))
    return shown == stored or (shown.replace(".", "").isdigit() and float(shown) == float(stored))


def accuracies(runs, settings, shown) -> list[float]:
    """The percentages of the runs with these settings, in the order of the seeds."""
    chosen = [run for run in runs if all(map(same, shown, (run[s] for s in settings)))]
    chosen.sort(key=lambda run: int(run["seed"]))
    return [100 * float(run["val_accuracy"]) for run in chosen]


def places(whole):
    """Move the sliders to all places at which they stop; yield what they then say."""
    sliders = whole.get_by_role("slider").all()
    counts = [int(slider.get_attribute("max")) + 1 for slider in sliders]
    for place in range(math.prod(counts)):
        for slider, count in zip(sliders, counts, strict=True):
            place, at = divmod(place, count)
            slider.evaluate(MOVE, at)
        yield [slider.get_attribute("aria-valuetext") for slider in sliders]


def check(whole, groups: list[list[float]]) -> None:
    """The table and the sentence give these groups of runs, and no more than follows from them."""
    table = whole.locator(".runs tbody tr")
    for row, group in zip(table.all(), groups, strict=False):
        assert row.locator("td").all_inner_texts() == [f"{value:.2f}" for value in group]
    assert table.count() == (0 if len(groups[0]) > 10 else (len(groups) == 2) + len(groups))
    expected = [v for g in groups for v in (statistics.mean(g), min(g), max(g))]
    if len(groups) == 2 and groups[0] != groups[1]:
        gaps = [b - a for a, b in zip(*groups, strict=True)]
        error = statistics.stdev(gaps) / math.sqrt(len(gaps))
        mean = statistics.mean(gaps)
        expected += [mean, error, abs(mean) / error]
    said = whole.get_by_role("status").inner_text()
    found = SIGNED.findall(re.sub(r"\b[AB]: \S+:", "", said) if len(groups) == 2
                           else said.partition(": ")[2])  # fmt: skip
    assert [number(text) for text in found] == pytest.approx(expected, abs=0.051), said
    for text, value in zip(found, expected, strict=True):
        assert number(text) == pytest.approx(value, abs=0.5001 * 10 ** -len(text.split(".")[1]))
    if len(expected) == 9:
        assert ("does not count" in said) == (expected[-1] <= 3)


def test_chapter_02_shows_the_stored_runs_of_each_rate_and_batch_size_and_no_other_number(opened):
    whole, runs = part(opened(RATES)), stored("experiments")
    runs = [run for run in runs if run["experiment"] == "rates"]
    seen = 0
    for shown in places(whole):
        check(whole, [accuracies(runs, ("lr", "batch_size"), shown)])
        seen += 1
    assert seen * 5 == len(runs)
    points = whole.locator("svg circle")
    assert points.count() == 6 * 5


@pytest.mark.parametrize("view", VIEWS)
def test_chapter_08_compares_any_two_settings_by_its_rule_from_the_stored_runs(runs_page, view):
    file, settings, which = VIEWS[view]
    runs = [r for r in stored(file) if all(r[key] in ok for key, ok in which.items())]
    whole = part(runs_page)
    whole.get_by_role("combobox").select_option(view)
    seen = 0
    for first, second, *other in places(whole):
        groups = [accuracies(runs, settings, [value, *other]) for value in (first, second)]
        assert all(groups)
        check(whole, groups)
        seen += first == second
    assert seen * len(groups[0]) == len(runs)


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
        whole.get_by_role("slider").first.press("End")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert whole.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert violations(page, axe_script(), every=False) == []


@pytest.mark.parametrize("name", [STEPS, RATES, RUNS])
def test_without_javascript_there_are_a_picture_with_its_text_and_a_sentence(opened, name):
    whole = part(opened(name, java_script_enabled=False))
    picture = whole.get_by_role("img")
    expect(picture).to_be_visible()
    assert len(picture.get_attribute("alt")) > 100 and "runs" in whole.inner_text() + name
    assert whole.get_by_role("button").count() == whole.get_by_role("slider").count() == 0


def test_no_page_has_asked_for_anything_or_stumbled(opened, unwanted):
    assert unwanted == []


def test_a_page_is_under_a_megabyte(site):
    sizes = {name: (site / f"{name}.html").stat().st_size for name in (STEPS, RATES, RUNS)}
    assert max(sizes.values()) < 1_000_000, sizes
