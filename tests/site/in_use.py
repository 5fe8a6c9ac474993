"""A page of the site with all that it can do in use, as `states` brings it about step by step."""

import re
from collections.abc import Iterator

from hand import DIGITS, Pad
from playwright.sync_api import Locator, Page, expect

LOOKS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
LOCAL = re.compile("file|data|blob|about")  # addresses that leave nothing for a network
MINUTES = 240_000  # milliseconds to wait for, on a busy machine
OPENED = 800  # milliseconds in which an overview or a pause has faded in or out
FINISHED = re.compile("^Finished")


def states(page: Page) -> Iterator[tuple[str, str]]:
    """Put the page to use; yield the name of each state, and the selector of what is new in it."""
    page.evaluate("document.querySelectorAll('main details').forEach(d => { d.open = true; })")
    parts = page.locator(".mnist-nb-live")
    for part in parts.all():
        for state in USES[part.get_attribute("data-part")](part):
            yield state, ".mnist-nb-live"
    # of the contents, a phone shows nothing unless they are opened
    page.evaluate(
        "document.querySelectorAll('.contents details').forEach(d => { d.open = true; })"
    )
    yield "in use", "html"
    figure = page.locator("figure > .enlarge")
    if figure.count():
        figure.first.press("Enter")
        yield "a figure enlarged", "dialog[open]"
        page.keyboard.press("Escape")
    search = page.get_by_role("button", name="Search")
    if search.count():
        search.click()
        page.keyboard.type("loss")
        page.locator(".found a").first.wait_for()
        yield "searched", "dialog[open]"
        page.keyboard.press("Escape")


def slide_states(page: Page) -> Iterator[tuple[str, str]]:
    """Show each slide of a deck, then what its keys open; yield names and selectors as `states`.

    A page too narrow for slides shows all of them at once.
    """
    if not page.locator(".deck.reveal").count():
        yield "below each other", "html"
        return
    page.wait_for_function("Reveal.isReady()")
    for number in range(page.evaluate("Reveal.getTotalSlides()")):
        page.evaluate("number => Reveal.slide(number)", number)
        yield f"slide {number + 1}", ".present"
    yield from opened_by_keys(page)
    with page.expect_popup() as opened:
        page.keyboard.press("s")
    opened.value.locator(".speaker-controls-notes").wait_for(state="attached")
    opened.value.close()


def opened_by_keys(page: Page) -> Iterator[tuple[str, str]]:
    """Open what lies over the slides, and close it again; yield as `states` does."""
    for key, state in (("o", "overview"), ("b", "paused"), ("Shift+Slash", "help")):
        page.keyboard.press(key)
        page.wait_for_timeout(OPENED)
        yield state, "html"
        page.keyboard.press("Escape" if state == "help" else key)
        page.wait_for_timeout(OPENED)


def draw(part: Locator) -> Iterator[str]:
    pad = Pad(part.page, part)
    pad.take(3)
    pad.draw(next(iter(DIGITS)))
    expect(pad.status).to_contain_text("The network reads")
    yield from ()


def train(part: Locator) -> Iterator[str]:
    """A tenth of the images: as long as it is looked at, and then one epoch to its end."""
    epochs, button = part.locator("[name=epochs]"), part.locator(".train")
    part.locator("[name=size]").select_option(label="a tenth")
    epochs.fill("1000")
    button.click()
    expect(part.locator(".losses tbody td[title]").first).to_be_attached(timeout=MINUTES)
    yield "training"
    button.click()  # a pause
    yield "resting"
    part.locator(".stop").click()
    part.locator("[name=lr]").fill("-1")
    button.click()  # refused, and said
    yield "refused"
    part.locator("[name=lr]").fill("0.1")
    epochs.fill("1")
    button.click()
    expect(part.locator(".said")).to_contain_text(FINISHED, timeout=MINUTES)
    yield from draw(part.locator(".try"))


def step(part: Locator) -> Iterator[str]:
    part.get_by_role("checkbox").first.check()
    for _ in range(7):
        part.get_by_role("button", name="Next step").click()
    yield from ()


def slide(part: Locator) -> Iterator[str]:
    choice = part.get_by_role("combobox")
    views = choice.locator("option").all_inner_texts() if choice.is_visible() else []
    for view in views[1:]:
        choice.select_option(view)
        part.get_by_role("slider").last.press("End")
        yield f"sliders, {view}"
    for slider in part.get_by_role("slider").all():
        slider.press("Home")
        slider.press("ArrowRight")


def prove(part: Locator) -> Iterator[str]:
    part.get_by_role("button").press("Enter")
    expect(part.get_by_role("status")).to_contain_text("to the last bit", timeout=MINUTES)
    yield from ()


USES = {
    "pad": draw,
    "trainer": train,
    "stepper": step,
    "what_if": slide,
    "proof": prove,
}
