"""The network trained in a page that was opened from a file, with the real images."""

import base64
import gzip
import json
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browser import axe_script, chromium, violations
from bs4 import BeautifulSoup
from conftest import WALKTHROUGH
from nbformat.v4 import new_markdown_cell, new_notebook
from playwright.sync_api import expect

from mnist_nb import exact
from mnist_nb.errors import ParameterError
from mnist_nb.live import trainer
from mnist_nb.parameters import RULES, check_parameters
from mnist_nb.record import MIME
from mnist_nb.tools.runs.declared import defaults_of
from mnist_nb.tools.site.html import PublishError
from mnist_nb.tools.site.pages import build_site

TENTH = 6_000
PAGE = "00_walkthrough"
CELLS = "rows => rows.map(row => [...row.querySelectorAll('td[title]')].map(td => td.title))"
MINUTES = 240_000  # milliseconds to wait for, on a busy machine


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site of the walkthrough alone."""
    notebooks, folder = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("site")
    shutil.copy(WALKTHROUGH, notebooks)
    build_site(folder, notebooks, tmp_path_factory.mktemp("none"))
    return folder


@pytest.fixture(scope="module")
def content(data_root) -> tuple[bytes, bytes]:
    """The training images and their labels, without the files' headers."""
    raw = Path(data_root, "MNIST", "raw")
    images, labels = (raw / f"train-{part}-ubyte" for part in ("images-idx3", "labels-idx1"))
    return images.read_bytes()[16:], labels.read_bytes()[8:]


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser):
    """Opens a page in a new context; afterwards, all that was asked for was a file beside it."""
    contexts, asked, errors = [], [], []

    def open_page(path: Path, before: str = "", **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(MINUTES)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        page.add_init_script(before)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}


@pytest.fixture
def beside(site, tmp_path):
    """The page in a folder of its own, without the file of images."""
    shutil.copy(site / f"{PAGE}.html", tmp_path)
    return tmp_path


def part_of(page):
    return page.locator(".mnist-nb-live")


def status(page):
    return part_of(page).locator(".said")


def train(page, **settings):
    """Choose settings, a tenth of the images if not said otherwise, and press the button."""
    part = part_of(page)
    part.locator("[name=size]").select_option(label="a tenth")
    for name, value in settings.items():
        part.locator(f"[name={name}]").fill(str(value))
    part.get_by_role("button", name="Train").click()


def wait_for(page, words: str):
    expect(status(page)).to_contain_text(re.compile(words), timeout=MINUTES)


def losses(page) -> list[list[float]]:
    """For each epoch of this run: training loss, validation loss, accuracy, with all digits."""
    rows = part_of(page).locator(".losses tbody tr").evaluate_all(CELLS)
    return [[float(value) for value in row] for row in rows if row]


def of_python(content, **settings) -> list[list[float]]:
    images, labels = (np.frombuffer(part, np.uint8) for part in content)
    data = {"images": images.reshape(-1, 784)[:TENTH], "labels": labels[:TENTH]}
    names = ("train_loss", "val_loss", "val_accuracy")
    done = exact.train(data, **settings)
    return [[row[name] for name in names] for row in done if "val_accuracy" in row]


@pytest.fixture(scope="module")
def trained(site, browser):
    """A page in which the tenth was trained for an epoch, with settings of its own."""
    page = browser.new_page()
    page.set_default_timeout(MINUTES)
    page.goto((site / f"{PAGE}.html").as_uri())
    train(page, lr=0.1, batch_size=50, hidden=16, dropout=0.25, seed=4_294_967_295, epochs=1)
    wait_for(page, "^Finished")
    return page


def test_the_page_and_python_give_the_same_losses_to_the_last_bit(trained, content):
    settings = {"lr": 0.1, "batch_size": 50, "hidden": 16, "dropout": 0.25, "seed": 2**32 - 1}
    assert losses(trained) == of_python(content, **settings, epochs=1)
    shown = [f"{number:.2f}" for number in losses(trained)[0][:2]]
    expect(status(trained)).to_contain_text(
        "The run in the text, with 55,000 images to learn from"
    )
    for number in shown:
        expect(status(trained)).to_contain_text(number)
        expect(part_of(trained).locator("svg.curve")).to_have_attribute(
            "aria-label", re.compile(re.escape(number))
        )


def test_the_pad_reads_with_the_network_that_was_trained(trained, site, content):
    part = part_of(trained)
    part.get_by_role("button", name="Test digit 0").click()
    said = part.locator(".pad-place [role=status]")
    expect(said).to_contain_text(re.compile(r"The network reads \d"), timeout=MINUTES)
    shares = part.locator(".answers tr").evaluate_all("rows => rows.map(row => row.title)")
    assert abs(sum(float(share) for share in shares) - 1) < 1e-9 and max(map(float, shares)) > 0.5


def test_defaults_ranges_and_published_losses_come_from_the_notebook_and_its_rules(site):
    notebook = nbformat.read(WALKTHROUGH, as_version=4)
    soup = BeautifulSoup((site / f"{PAGE}.html").read_text(), "html.parser")
    data = json.loads(soup.select_one('[data-part="trainer"] + script').get_text())
    defaults = defaults_of(notebook)
    assert {f["name"]: f["value"] for f in data["fields"]} == {
        name: defaults[name] for name in trainer.SETTINGS
    }
    for field in data["fields"]:
        assert field["words"] == RULES[field["name"]].words
    namespace = {}
    exec(next(c.source for c in notebook.cells if c.id == "table-code"), namespace)
    assert data["published"] == namespace["published"]
    (record,) = [
        o.data[MIME]
        for c in notebook.cells
        for o in c.get("outputs", ())
        if MIME in o.get("data", ())
    ]
    assert data["text"] == {
        "images": record["parameters"]["train_size"],
        **{
            name: record["history"][-1][name]
            for name in ("train_loss", "val_loss", "val_accuracy")
        },
    }


VALUES = [
    "0",
    "1",
    "1.5",
    "-1",
    "0.999",
    "3.4e38",
    "3e38",
    "5501",
    "10001",
    "100001",
    "4294967296",
]


def refusal(name: str, value: str) -> str:
    """What Python says of a value, or nothing if it takes it."""
    whole = RULES[name].kind is int and "." not in value and "e" not in value
    try:
        check_parameters({name: int(value) if whole else float(value), "train_size": 5_500})
    except ParameterError as error:
        return str(error)
    return ""


def test_a_value_is_taken_or_refused_as_in_python_and_with_the_same_words(opened, beside):
    page = opened(beside / f"{PAGE}.html")  # without the images, so that no training starts
    for name in trainer.SETTINGS:
        field = part_of(page).locator(f"[name={name}]")
        before = field.input_value()
        for value in VALUES:
            train(page, **{name: value})
            wait_for(page, "images are missing|it takes")
            refused = "it takes" in status(page).inner_text()
            said = refusal(name, value)
            assert refused == bool(said), (name, value)
            if refused:
                expect(field).to_be_focused()
            if refused and "train_size" not in said:
                expect(status(page)).to_contain_text(said.partition("; ")[2])
        field.fill(before)


def test_a_training_is_paused_continued_and_stopped_by_keys_alone(opened, site, content):
    page = opened(site / f"{PAGE}.html")
    part, keys = part_of(page), page.keyboard
    button, stop = part.locator(".train"), part.get_by_role("button", name="Stop")
    part.locator("[name=lr]").focus()
    for name, value in {"lr": "0.05", "hidden": "32", "epochs": "100000"}.items():
        while page.evaluate("document.activeElement.name") != name:
            keys.press("Tab")
        keys.press("Control+a")
        keys.type(value)
    keys.press("Tab")
    keys.press("ArrowDown")  # a tenth
    keys.press("Tab")
    expect(button).to_be_focused()
    keys.press("Enter")
    wait_for(page, r"^Epoch \d+:")
    keys.press("Space")
    wait_for(page, "^Paused")
    expect(button).to_have_text("Continue")
    page.wait_for_timeout(300)  # until what the worker had sent before is here
    at, paused = part.locator(".where").inner_text(), len(losses(page))
    page.wait_for_timeout(500)
    assert part.locator(".where").inner_text() == at
    expect(button).to_be_focused()
    keys.press("Space")
    page.wait_for_function(
        "paused => document.querySelectorAll('.losses td[title]').length > 3 * paused", arg=paused
    )
    keys.press("Tab")
    expect(stop).to_be_focused()
    keys.press("Enter")
    wait_for(page, "^Stopped in epoch")
    expect(button).to_be_focused()
    expect(button).to_have_text("Train")
    of_page = losses(page)[: paused + 1]
    assert of_page == of_python(content, lr=0.05, hidden=32, epochs=paused + 1, seed=67)


@pytest.mark.parametrize(
    ("lr", "words"), [(10, "learned nothing"), (1e30, "^Diverged in epoch 1")]
)
def test_a_training_that_fails_is_shown_as_one(opened, site, lr, words):
    page = opened(site / f"{PAGE}.html")
    train(page, lr=lr, hidden=8, epochs=1)
    wait_for(page, words)
    drawn = part_of(page).locator("svg.curve").inner_html()
    assert not re.search(r"\b(nan|infinity)\b", drawn, re.IGNORECASE)


# What can go wrong with the images


def test_without_the_file_of_images_the_page_says_what_to_copy_and_then_trains(
    opened, site, beside
):
    page = opened(beside / f"{PAGE}.html")
    train(page, hidden=4, epochs=1)
    wait_for(page, f"Copy {re.escape(trainer.FILE)} into the folder of this page")
    shutil.copy(site / trainer.FILE, beside)
    part_of(page).get_by_role("button", name="Train").click()
    wait_for(page, "^Finished")


NO_SHA = "delete Crypto.prototype.subtle"
OLD = "delete globalThis.DecompressionStream"


@pytest.fixture(scope="module")
def other(content) -> bytes:
    """A file with the same images but for one pixel."""
    images, labels = content
    return trainer.as_script(bytes([images[0] ^ 1]) + images[1:] + labels)


@pytest.mark.parametrize(
    ("file", "before", "words"),
    [
        (None, "", "do not pass their check"),
        (None, NO_SHA, "do not pass their check"),
        (trainer.as_script(bytes(785)), "", "do not pass their check"),
        (b'MNIST_NB_IMAGES = "QUJD";', "", "do not pass their check"),
        (b"", OLD, "This browser cannot unpack the images"),
    ],
    ids=["a pixel", "a pixel, without SHA-256", "too short", "no gzip", "an old browser"],
)
def test_images_that_are_not_these_or_cannot_be_unpacked_are_not_trained_with(
    opened, beside, other, file, before, words
):
    (beside / trainer.FILE).write_bytes(other if file is None else file)
    page = opened(beside / f"{PAGE}.html", before)
    train(page)
    wait_for(page, words)
    expect(part_of(page).get_by_role("button", name="Train")).to_be_enabled()


def test_without_sha_256_as_by_http_the_right_images_pass(opened, site):
    page = opened(site / f"{PAGE}.html", NO_SHA)
    train(page, hidden=4, epochs=1)
    wait_for(page, "^Finished")


def test_the_file_has_the_verified_images_and_is_made_with_the_same_bytes_again(site, content):
    script = (site / trainer.FILE).read_bytes()
    packed = re.fullmatch(rb'globalThis\.MNIST_NB_IMAGES = "([\w+/=]+)";\n', script)[1]
    assert gzip.decompress(base64.b64decode(packed)) == b"".join(content)
    assert trainer.as_script(content[1]) == trainer.as_script(content[1])


# How it looks


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_in_the_trainer_in_use_and_nothing_scrolls_sideways(
    trained, width, scheme
):
    trained.set_viewport_size({"width": width, "height": 844})
    trained.emulate_media(color_scheme=scheme)
    assert trained.evaluate("document.documentElement.scrollWidth") == width
    assert violations(trained, axe_script(), every=False) == []


def test_paper_has_the_curve_and_the_table_and_no_buttons(trained):
    trained.emulate_media(media="print")
    part = part_of(trained)
    assert part.locator("svg.curve").is_visible() and part.locator(".losses").is_visible()
    assert not part.locator(".train").is_visible() and not part.locator(".pad").is_visible()
    trained.emulate_media(media="screen")


def test_without_javascript_there_is_a_picture_with_its_words(opened, site):
    page = opened(site / f"{PAGE}.html", java_script_enabled=False)
    picture = part_of(page).locator("img")
    assert picture.is_visible() and len(picture.get_attribute("alt")) > 50
    expect(part_of(page).locator("figcaption")).to_contain_text("JavaScript")
    assert not part_of(page).get_by_role("button").count()


# How it gets there


def test_only_a_page_that_asks_has_the_part_and_the_file_and_an_unknown_part_is_refused(tmp_path):
    cell = new_markdown_cell("# None here")
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "01_plain.ipynb")
    build_site(tmp_path / "site", tmp_path, tmp_path / "none")
    assert 'class="mnist-nb-live"' not in (tmp_path / "site" / "01_plain.html").read_text()
    assert not (tmp_path / "site" / trainer.FILE).exists()
    cell.metadata["mnist_nb"] = {"live": "os"}
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "01_plain.ipynb")
    with pytest.raises(PublishError, match=r"asks for the live part 'os'"):
        build_site(tmp_path / "site", tmp_path, tmp_path / "none")


def test_the_slides_have_the_text_and_not_the_part(site):
    deck = (site / "slides" / f"{PAGE}.html").read_text()
    assert "Train it in a browser" in deck and 'class="mnist-nb-live"' not in deck
