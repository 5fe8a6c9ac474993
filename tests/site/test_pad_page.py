"""The drawing pad on the page of chapter 06, opened from a file, in a real Chromium."""

import base64
import itertools
import re
import shutil

import numpy as np
import pytest
import torch
from browser import axe_script, chromium, violations
from conftest import PROJECT
from hand import DIGITS, EMPTY, FRAME, Pad, answered
from playwright.sync_api import expect

from mnist_nb import live
from mnist_nb.live.pad import centred, digit_pad
from mnist_nb.loading import load
from mnist_nb.model import build_model
from mnist_nb.saving import load_network
from mnist_nb.tools.site.pages import build_site

NAME = "06_evaluation"
PATIENCE = 180_000  # milliseconds; a busy machine is slow, and only a hang is wrong


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    course, folder = tmp_path_factory.mktemp("course"), tmp_path_factory.mktemp("site")
    shutil.copy(PROJECT / "notebooks" / f"{NAME}.ipynb", course)
    build_site(folder, course, student=course)
    return folder


@pytest.fixture(scope="module")
def browser():
    expect.set_options(timeout=PATIENCE)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def asked():
    """The addresses that the pages asked for, and their errors."""
    return []


@pytest.fixture(scope="module")
def opened(browser, site, asked):
    """Opens the page of chapter 06, or a different one, without a network."""

    def open_page(path=site / f"{NAME}.html", **options):
        page = browser.new_context(offline=True, **options).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: asked.append(str(error)))
        page.goto(path.as_uri())
        return page

    return open_page


@pytest.fixture(scope="module")
def pad(opened):
    return Pad(opened())


@pytest.fixture(scope="module")
def model():
    return load_network()


@pytest.fixture(scope="module")
def test_digits(data_root):
    return load(train=False)


def place(picture: torch.Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass."""
    places, mass = torch.arange(28.0), picture.sum()
    return ((picture.sum(1) @ places) / mass).item(), ((picture.sum(0) @ places) / mass).item()


def test_a_test_digit_is_read_in_the_page_as_it_is_and_as_python_reads_it(pad, model, test_digits):
    for digit in range(10):
        image = test_digits.x[test_digits.y == digit][0, 0]
        pad.take(digit)
        assert torch.equal(pad.pixels(pad.seen, 28), (image * 255).round())
        assert (pad.probabilities() - answered(model, image)).abs().max() < 1e-6


@pytest.mark.parametrize(
    "digits", [list(DIGITS)[::5], pytest.param(list(DIGITS), marks=pytest.mark.whole)]
)
def test_drawn_digits_are_read_as_python_reads_them_small_in_a_corner_and_large(
    pad, model, digits
):
    right = {}
    for digit in digits:
        for size, where in {"large": (0.12, 0.12, 0.76), "small": (0.06, 0.06, 0.36)}.items():
            pad.draw(digit, *where)
            assert pad.agrees_with(model)
            right[digit, size] = pad.answer() == digit
            picture = pad.pixels(pad.seen, 28).float()
            rows, columns = (picture.any(dim=dim).nonzero() for dim in (1, 0))
            assert max(rows[-1] - rows[0], columns[-1] - columns[0]) == 19
            assert place(picture) == pytest.approx((14, 14), abs=0.51)
    assert sum(right.values()) >= 0.8 * len(right), right


CENTRED = """async drawings => {  // base64 of bytes, 35 x 35 each -> base64 of the images
    const bytes = Uint8Array.from(atob(drawings), letter => letter.charCodeAt(0));
    const images = new Float32Array(bytes.length / 35 ** 2 * 784);
    for (let n = 0; n * 784 < images.length; n++) {
        const drawing = Float32Array.from(bytes.subarray(n * 35 ** 2, (n + 1) * 35 ** 2));
        images.set(digit_js.centred(drawing.map(value => value / 255), 35), n * 784);
    }
    const reader = new FileReader();
    reader.readAsDataURL(new Blob([images]));
    await new Promise(done => { reader.onload = done; });
    return reader.result.split(",")[1];
}"""


def test_digits_are_centred_as_python_centres_them(pad, test_digits):
    pad.page.add_script_tag(content=live._files("digit")["digit"])
    drawings = torch.zeros(1000, 35, 35)
    drawings[:, 3:31, 5:33] = test_digits.x[:1000, 0]
    drawings[::2] = drawings[::2].flip(1)  # no digit of MNIST: their centre can be anywhere
    drawings[1::4, 8:12] = 0
    sent = base64.b64encode(drawings.mul(255).round().byte().numpy()).decode()
    shown = np.frombuffer(base64.b64decode(pad.page.evaluate(CENTRED, sent)), "float32")
    wanted = torch.stack([centred(drawing) for drawing in drawings]).flatten()
    assert np.abs(shown - wanted.numpy()).max() < 1e-6


def test_a_cleared_pad_has_no_answer_and_takes_the_same_digit_again(pad):
    for _ in range(2):
        pad.take(7)
        assert pad.answer() == 7
        pad.wipe()
        assert not pad.pixels(pad.seen, 28).any() and pad.whole.locator("tr.first").count() == 0
        assert set(pad.whole.locator(".share").all_inner_texts()) == {"–"}


def test_the_probabilities_move_while_the_digit_is_being_drawn(pad):
    pad.wipe()
    shares = pad.whole.locator(".share")
    pad.page.mouse.move(*pad.at(0.5, 0.15))
    pad.page.mouse.down()
    pad.page.mouse.move(*pad.at(0.5, 0.45), steps=5)
    pad.page.evaluate(FRAME)
    before = shares.all_inner_texts()
    assert "–" not in before
    pad.page.mouse.move(*pad.at(0.8, 0.8), steps=5)
    pad.page.evaluate(FRAME)
    assert shares.all_inner_texts() != before
    pad.page.wait_for_timeout(1000)  # when it would have been said
    expect(pad.status).to_contain_text(EMPTY)  # nothing is said before the pen is up
    pad.page.mouse.up()
    expect(pad.status).to_have_text(re.compile(r"The network reads \d\D+\d+%"))


def test_a_fast_stroke_goes_through_every_point_that_the_browser_noted(pad):
    pad.wipe()
    pad.page.mouse.move(*pad.at(1 / 7, 0.5))
    pad.page.mouse.down()
    pad.pad.evaluate("""pad => {
        const box = pad.getBoundingClientRect();
        const move = (x, y, coalescedEvents = []) => new PointerEvent("pointermove",
            {isPrimary: true, clientX: box.left + box.width * x, clientY: box.top + box.height * y,
             coalescedEvents});
        pad.dispatchEvent(move(6 / 7, 0.5, [move(0.5, 1 / 7)]));
    }""")
    pad.page.mouse.up()
    drawing = pad.drawing()
    for x, y in ((20, 70), (70, 20), (119, 70)):
        assert drawing[y, x] > 0, (x, y)


def test_with_the_keyboard_a_test_digit_is_taken_and_the_result_is_said_once(pad):
    pad.wipe()
    pad.status.evaluate("""status => {
        window.said = [];
        new MutationObserver(() => said.push(status.textContent)).observe(status,
            {childList: true, characterData: true, subtree: true});
    }""")
    said = []
    for digit, key in zip(range(3), itertools.cycle(["Enter", "Space"])):
        pad.page.keyboard.press("Tab")
        button = pad.whole.get_by_role("button", name=f"Test digit {digit}")
        expect(button).to_be_focused()
        pad.page.keyboard.press(key)
        expect(pad.status).to_have_text(re.compile(rf"Test digit {digit}\. The network reads \d"))
        said.append(pad.status.inner_text())
    assert pad.page.evaluate("said") == said


def test_a_network_whose_answer_is_no_number_says_so(opened, tmp_path, test_digits):
    model = build_model()
    torch.nn.init.constant_(model[5].bias, float("nan"))
    html = f'<!DOCTYPE html><meta charset="utf-8">{digit_pad(model, test_digits).html}'
    (tmp_path / "nan.html").write_text(html, encoding="utf-8")
    pad = Pad(opened(tmp_path / "nan.html"))
    pad.take(3)
    expect(pad.status).to_contain_text("nan")
    assert set(pad.whole.locator(".share").all_inner_texts()) == {"–"}


def test_a_finger_draws_on_a_phone_and_the_page_stays_where_it_is(opened, model):
    page = opened(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    pad = Pad(page)
    touch = page.context.new_cdp_session(page)

    def send(kind, *places):
        points = [{"x": x, "y": y} for x, y in places]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    first, *others = [pad.at(0.5, 0.1 * n) for n in range(2, 9)]
    before = page.evaluate("scrollY")
    send("touchStart", first)
    for point in others:
        send("touchMove", point)
    send("touchEnd")
    page.evaluate(FRAME)
    assert pad.agrees_with(model) and pad.answer() == 1
    assert page.evaluate("[scrollY, document.documentElement.scrollWidth]") == [before, 390]


def test_on_a_phone_the_pad_is_as_wide_as_the_text_and_the_answer_stands_right_below_it(opened):
    page = opened(viewport={"width": 390, "height": 844})
    pad = Pad(page)
    pad.take(7)
    page.evaluate("scrollBy(0, document.querySelector('.pad').getBoundingClientRect().top - 60)")
    box, said, clear, seen, bars = (part.bounding_box() for part in (
        pad.pad, pad.status, pad.clear, pad.seen, pad.whole.locator(".answers")))  # fmt: skip
    assert box["width"] >= 340
    assert box["y"] + box["height"] <= said["y"] <= box["y"] + box["height"] + 20
    assert clear["x"] + clear["width"] <= said["x"] and abs(clear["y"] - said["y"]) < 20
    assert bars["x"] + bars["width"] <= seen["x"] and bars["y"] <= seen["y"] < said["y"] + 100
    assert bars["y"] + bars["height"] <= 844, "all of it on one screen"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_axe_finds_nothing_with_the_pad_in_use(pad, width, scheme):
    pad.page.emulate_media(color_scheme=scheme)
    pad.page.set_viewport_size({"width": width, "height": 844})
    pad.take(4)
    assert violations(pad.page, axe_script(), every=False) == []


def test_without_javascript_a_picture_and_a_sentence_stand_in_its_place(opened):
    part = opened(java_script_enabled=False).locator(".mnist-nb-live")
    assert "bars" in part.get_by_role("img").get_attribute("alt")
    assert "JavaScript" in part.inner_text()
    assert part.locator("button, canvas").count() == 0


def test_a_pad_that_cannot_start_leaves_the_picture(browser, site):
    page = browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto((site / f"{NAME}.html").as_uri())
    assert "bars" in page.locator(".mnist-nb-live img").get_attribute("alt")


def test_no_page_of_these_asked_for_anything_or_had_an_error(pad, asked):
    assert asked and {what.partition(":")[0] for what in asked} <= {"file", "data"}
