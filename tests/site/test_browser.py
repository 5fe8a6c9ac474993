"""JupyterLab as `make lab` starts it, in a real Chromium, with a real mouse and real keys."""

import contextlib
import itertools
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
import torch
from browser import FLAGS as QUIET
from conftest import CHAPTERS, PROJECT, Family, wait_until
from mnist_nb.digit_pad import EMPTY, SIDE, centred
from playwright.sync_api import Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
if not CHROMIUM:
    pytest.skip(
        "without Chromium JupyterLab is not tried; on Debian: apt-get install chromium",
        allow_module_level=True,
    )

SCREENSHOTS = PROJECT / "build" / "screenshots"
PATIENCE = 180_000  # milliseconds; a busy machine is slow, and only a hang is wrong
LOOPBACK = "127.0.0.1"
# what Chromium itself wants of the network goes to a port where nobody listens
FLAGS = [*QUIET, f"--proxy-server=http://{LOOPBACK}:9"]


class Trap:
    """A proxy that leads nowhere, and keeps what JupyterLab or a kernel wanted to send."""

    def __init__(self):
        self.wanted = []
        self._server = socket.create_server((LOOPBACK, 0))
        self.address = f"http://{LOOPBACK}:{self._server.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                connection, _ = self._server.accept()
                with connection:
                    connection.settimeout(5)
                    self.wanted.append(connection.recv(200).split(b"\r\n")[0].decode())

    def close(self) -> None:
        self._server.close()


@pytest.fixture(scope="module")
def trap():
    trap = Trap()
    yield trap
    trap.close()


class Lab:
    """A JupyterLab in `project`, a copy of this one, for a user who has never used it."""

    def __init__(self, project: Path, data_root: str, trap: Trap):
        with socket.create_server((LOOPBACK, 0)) as free:
            port = free.getsockname()[1]
        self.project, self.home = project, project.parent / "home"
        self.home.mkdir()
        proxy = {name: trap.address for name in ("http_proxy", "https_proxy", "all_proxy")}
        self.family = Family(project, HOME=str(self.home), MNIST_NB_DATA=data_root,
                             no_proxy=LOOPBACK, **proxy)  # fmt: skip
        for name in list(self.family.environment):  # of whoever runs the tests, and of his make
            if name.startswith(("JUPYTER", "XDG", "MAKE")) and name != "JUPYTER_PATH":
                del self.family.environment[name]
        options = f"ARGS=--no-browser --ServerApp.port={port} --ServerApp.port_retries=0"
        made = subprocess.run(
            ["make", "-n", "lab", f"VENV={sys.prefix}", options],
            cwd=project, env=self.family.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        # what comes before is the environment and the data, which are there
        script = made.stdout.partition("mnist_nb.tools.cli data\n")[2]
        self.log = project.parent / "lab.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", script], cwd=project, env=self.family.environment,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.address = f"http://{LOOPBACK}:{port}"
        self.token = ""

    def wait(self) -> None:
        """Wait until it answers; what it says about itself is known then."""
        wait_until(lambda: self._answers() or self._ended(), "JupyterLab answers", PATIENCE / 1000)
        assert not self._ended(), self.log.read_text()
        runtime = self.home / ".local" / "share" / "jupyter" / "runtime"
        self.server = json.loads(next(runtime.glob("jpserver-*.json")).read_text())
        self.token = self.server["token"]

    def _ended(self) -> bool:
        return self.process.poll() is not None

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.address}/api", timeout=5).close()
        except OSError:
            return False
        return True

    def ask(self, path: str, method: str = "GET", token: str | None = None) -> bytes:
        request = urllib.request.Request(f"{self.address}/api/{path}", method=method)
        request.add_header("Authorization", f"token {self.token if token is None else token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def stop_kernel(self, name: str) -> None:
        for session in json.loads(self.ask("sessions")):
            if session["path"] == f"{name}.ipynb":
                self.ask(f"sessions/{session['id']}", "DELETE")

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.ask("shutdown", "POST")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.family.end()


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data_root, trap):
    project = tmp_path_factory.mktemp("lab") / "project"

    def outputs(folder, names):
        made = {"build", "runs", "mutants"} if Path(folder) == PROJECT else set()
        return {name for name in names if name.startswith(".") or name in made | {"__pycache__"}}

    shutil.copytree(PROJECT, project, ignore=outputs)
    lab = Lab(project, data_root, trap)
    try:
        lab.wait()
        yield lab
    finally:
        lab.stop()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def asked():
    """The addresses that pages asked for."""
    return set()


@pytest.fixture(scope="module")
def new_page(browser, asked):
    def new(**options) -> Page:
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, **options)
        page.set_default_timeout(PATIENCE)
        page.context.on("request", lambda request: asked.add(request.url))
        page.on("websocket", lambda socket: asked.add(socket.url))
        return page

    expect.set_options(timeout=PATIENCE)
    return new


def open_notebook(page: Page, lab: Lab, name: str):
    """The panel of a notebook, in an arrangement of the window of its own, its kernel ready."""
    workspace = f"/lab/workspaces/of-{name}/tree/{name}.ipynb"
    page.goto(f"{lab.address}{workspace}?token={lab.token}", wait_until="domcontentloaded")
    return ready(page)


def ready(page: Page):
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    expect(panel).to_be_visible()
    # not the notebook's own sign, which says idle while there is no kernel yet
    expect(page.locator("#jp-main-statusbar")).to_contain_text(re.compile(r"Python 3.*\| Idle"))
    return panel


def run_all(page: Page, panel) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    prompts = panel.locator(".jp-CodeCell .jp-InputArea-prompt")
    for number in range(prompts.count()):  # folded cells have no prompt
        expect(prompts.nth(number)).to_have_text(re.compile(r"\[\d+\]:"))
    expect(page.locator("#jp-main-statusbar")).to_contain_text(re.compile(r"\| Idle"))


def whole(path: Path) -> bool:
    """Is this JSON to its end? JupyterLab may be writing it."""
    try:
        return bool(json.loads(path.read_text()))
    except ValueError:
        return False


def screenshot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.fixture(scope="module")
def first_page(new_page, lab):
    """What a learner sees first."""
    page = new_page()
    page.goto(f"{lab.address}/?token={lab.token}", wait_until="domcontentloaded")
    ready(page)
    yield page
    page.close()


@pytest.fixture(scope="module")
def chapter_06(new_page, lab):
    """The page of chapter 06, every cell run."""
    page = new_page()
    run_all(page, open_notebook(page, lab, "06_evaluation"))
    yield page
    page.close()


def test_the_server_listens_on_this_machine_only_and_wants_its_token(lab):
    assert lab.server["hostname"] == LOOPBACK and len(lab.token) >= 32
    assert json.loads(lab.ask("kernels")) == []
    with pytest.raises(urllib.error.HTTPError, match="403"):
        lab.ask("kernels", token="")


def test_a_learner_finds_the_walkthrough_with_numbered_contents_and_no_news(first_page):
    page = first_page
    panel = page.locator(".jp-NotebookPanel")
    expect(panel).to_have_count(1)
    expect(panel.locator("h1").first).to_be_visible()
    contents = page.locator(".jp-TableOfContents-tree")
    expect(contents).to_be_visible()
    expect(contents).to_contain_text(re.compile(r"1\. .*2\. ", re.DOTALL))
    page.wait_for_timeout(3000)  # when a question about news would have come
    expect(page.locator(".Toastify__toast")).to_have_count(0)
    screenshot(page, "lab")


# strokes in a unit square, from above
DIGITS = {
    0: [[(0.5, 0), (0.2, 0.15), (0.1, 0.5), (0.2, 0.85), (0.5, 1), (0.8, 0.85), (0.9, 0.5),
         (0.8, 0.15), (0.5, 0)]],
    1: [[(0.55, 0), (0.45, 1)]],
    2: [[(0.15, 0.25), (0.3, 0.05), (0.6, 0), (0.8, 0.2), (0.7, 0.45), (0.1, 1), (0.9, 1)]],
    3: [[(0.15, 0.1), (0.5, 0), (0.8, 0.2), (0.45, 0.47), (0.85, 0.7), (0.6, 0.97), (0.1, 0.92)]],
    4: [[(0.25, 0), (0.15, 0.55), (0.85, 0.5)], [(0.8, 0.05), (0.7, 1)]],
    5: [[(0.85, 0), (0.3, 0), (0.2, 0.45), (0.6, 0.42), (0.8, 0.7), (0.55, 0.98), (0.1, 0.95)]],
    6: [[(0.65, 0), (0.3, 0.4), (0.2, 0.75), (0.4, 1), (0.7, 0.9), (0.7, 0.65), (0.45, 0.55),
         (0.22, 0.7)]],
    7: [[(0.1, 0.05), (0.85, 0), (0.6, 0.5), (0.45, 1)]],
    8: [[(0.75, 0.12), (0.4, 0), (0.25, 0.22), (0.7, 0.65), (0.65, 0.95), (0.3, 0.97),
         (0.28, 0.7), (0.7, 0.3), (0.75, 0.12)]],
    9: [[(0.8, 0.15), (0.45, 0), (0.2, 0.2), (0.4, 0.42), (0.75, 0.3), (0.8, 0.15), (0.65, 1)]],
}  # fmt: skip
# the drawing as the page sends it, and the picture of the answer: a byte per pixel
PIXELS = """(canvas, side) => {
    const small = document.createElement("canvas");
    small.width = small.height = side;
    const ink = small.getContext("2d");
    ink.drawImage(canvas, 0, 0, side, side);
    return Array.from(ink.getImageData(0, 0, side, side).data.filter((_, i) => i % 4 == 0));
}"""


class OnPage:
    """The drawing pad on a page, and a hand for it."""

    def __init__(self, page: Page):
        self.page, self.whole = page, page.locator(".digit-pad")
        self.pad, self.seen = self.whole.locator(".pad"), self.whole.locator(".seen")
        self.clear = self.whole.get_by_role("button", name="Clear")
        self.status = self.whole.get_by_role("status")
        self.whole.scroll_into_view_if_needed()
        expect(self.status).to_have_text(EMPTY)  # it has settled

    def pixels(self, canvas, side: int) -> torch.Tensor:
        return torch.tensor(canvas.evaluate(PIXELS, side)).view(side, side)

    def draw(self, digit: int, left: float, top: float, size: float) -> torch.Tensor:
        """Draw, each in shares of the pad; the picture that comes back, bytes."""
        self.wipe()
        self.pad.scroll_into_view_if_needed()
        box = self.pad.bounding_box()
        for stroke in DIGITS[digit]:
            at = [(box["x"] + box["width"] * (left + size * x),
                   box["y"] + box["height"] * (top + size * y)) for x, y in stroke]  # fmt: skip
            self.page.mouse.move(*at[0])
            self.page.mouse.down()
            for point in at[1:]:
                self.page.mouse.move(*point, steps=6)
            self.page.mouse.up()
        drawing = self.pixels(self.pad, SIDE).float() / 255
        wanted = (centred(drawing) * 255).round()
        wait_until(lambda: torch.equal(self.pixels(self.seen, 28), wanted), "the answer is there")
        return wanted

    def wipe(self) -> None:
        self.clear.scroll_into_view_if_needed()
        self.clear.click()
        expect(self.status).to_have_text(EMPTY)

    def answer(self) -> int:
        """The most probable digit of the table."""
        return int(self.whole.locator("tr.first th").inner_text())


@pytest.fixture(scope="module")
def pad(chapter_06):
    return OnPage(chapter_06)


def place(picture: torch.Tensor) -> tuple[float, float]:
    """Row and column of the centre of mass."""
    places, mass = torch.arange(28.0), picture.sum()
    return ((picture.sum(1) @ places) / mass).item(), ((picture.sum(0) @ places) / mass).item()


@pytest.mark.parametrize(
    "digits", [list(DIGITS)[::5], pytest.param(list(DIGITS), marks=pytest.mark.whole)]
)
def test_digits_drawn_with_the_mouse_are_read_small_in_a_corner_and_large(pad, digits):
    right = {}
    for digit in digits:
        large = pad.draw(digit, 0.12, 0.12, 0.76)
        right[digit, "large"] = pad.answer() == digit
        screenshot(pad.page, f"drawn-{digit}")
        small = pad.draw(digit, 0.06, 0.06, 0.36)
        right[digit, "small"] = pad.answer() == digit
        for picture in (large, small):
            rows, columns = (picture.any(dim=dim).nonzero() for dim in (1, 0))
            assert max(rows[-1] - rows[0], columns[-1] - columns[0]) == 19
            assert place(picture) == pytest.approx((14, 14), abs=0.51)
    print(right)
    assert sum(right.values()) >= 0.8 * len(right), right


def test_the_probabilities_move_while_the_digit_is_being_drawn(pad):
    pad.wipe()
    pad.pad.scroll_into_view_if_needed()
    box, shares = pad.pad.bounding_box(), pad.whole.locator(".share")
    pad.page.mouse.move(box["x"] + 140, box["y"] + 40)
    pad.page.mouse.down()
    pad.page.mouse.move(box["x"] + 140, box["y"] + 120, steps=5)
    expect(shares.first).not_to_have_text("–")
    before = shares.all_inner_texts()
    pad.page.mouse.move(box["x"] + 220, box["y"] + 220, steps=5)
    wait_until(lambda: shares.all_inner_texts() != before, "the probabilities move")
    pad.page.wait_for_timeout(1000)  # when it would have been said
    expect(pad.status).to_have_text(EMPTY)  # nothing is said before the pen is up
    pad.page.mouse.up()
    expect(pad.status).to_have_text(re.compile(r"The network reads \d\D+\d+%"))


def test_a_fast_stroke_goes_through_every_point_that_the_browser_noted(pad):
    pad.wipe()
    pad.pad.scroll_into_view_if_needed()
    box = pad.pad.bounding_box()
    pad.page.mouse.move(box["x"] + 40, box["y"] + 140)
    pad.page.mouse.down()
    pad.pad.evaluate("""pad => {
        const box = pad.getBoundingClientRect();
        const move = (x, y, coalescedEvents = []) => new PointerEvent("pointermove",
            {isPrimary: true, clientX: box.left + x, clientY: box.top + y, coalescedEvents});
        pad.dispatchEvent(move(240, 140, [move(140, 40)]));
    }""")
    pad.page.mouse.up()
    drawn = pad.pixels(pad.pad, SIDE)
    for x, y in ((40, 140), (140, 40), (240, 140)):
        assert drawn[y * SIDE // 280, x * SIDE // 280] > 0, (x, y)


@pytest.mark.parametrize("count", [3, pytest.param(10, marks=pytest.mark.whole)])
def test_with_the_keyboard_a_test_digit_is_taken_and_the_result_is_said_once(pad, count):
    pad.wipe()
    pad.status.evaluate("""status => {
        window.said = [];
        window.listening?.disconnect();
        window.listening = new MutationObserver(() => window.said.push(status.textContent));
        window.listening.observe(status, {childList: true, characterData: true, subtree: true});
    }""")
    said = []
    for digit, key in zip(range(count), itertools.cycle(["Enter", "Space"])):
        pad.page.keyboard.press("Tab")
        expect(pad.whole.get_by_role("button", name=f"Test digit {digit}")).to_be_focused()
        pad.page.keyboard.press(key)
        expect(pad.status).to_have_text(re.compile(rf"Test digit {digit}\. The network reads \d"))
        said.append(pad.status.inner_text())
        button = pad.whole.get_by_role("button", name=f"Test digit {digit}").locator("canvas")
        assert torch.equal(pad.pixels(pad.seen, 28), pad.pixels(button, 28))
    assert pad.page.evaluate("said") == said
    right = [f"digit {n}. The network reads {n}" in text for n, text in enumerate(said)]
    assert sum(right) >= 0.8 * count


def shows_its_pictures_and_is_saved_clean(page: Page, panel, lab: Lab, name: str) -> None:
    stored = nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in stored.cells for output in cell.get("outputs", [])]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    shown = panel.locator(".jp-OutputArea-output img")
    expect(shown).to_have_count(pictures)
    assert all(shown.nth(i).evaluate("image => image.naturalWidth > 0") for i in range(pictures))
    wrong = panel.locator('[data-mime-type*="stderr"], [data-mime-type*="error"]')
    expect(wrong).to_have_count(0)
    screenshot(page, name)

    path = lab.project / "notebooks" / f"{name}.ipynb"
    before = path.stat().st_mtime_ns
    panel.locator(".jp-CodeCell .jp-InputArea-prompt:visible").first.click()  # not a folded one
    page.keyboard.press("Control+s")
    wait_until(lambda: path.stat().st_mtime_ns > before and whole(path), "it is saved")
    saved = nbformat.read(path, as_version=4)
    assert not any("execution" in cell.metadata for cell in saved.cells)


EXECUTED = "06_evaluation"  # of the others, nbval executes every cell


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.stem, marks=[] if path.stem == EXECUTED else pytest.mark.whole)
        for path in CHAPTERS
    ],
)
def test_a_notebook_runs_in_the_browser_and_shows_its_pictures(name, new_page, lab, request):
    if name == EXECUTED:
        page = request.getfixturevalue("chapter_06")
        panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        shows_its_pictures_and_is_saved_clean(page, panel, lab, name)
        return
    page = new_page()
    panel = open_notebook(page, lab, name)
    run_all(page, panel)
    shows_its_pictures_and_is_saved_clean(page, panel, lab, name)
    page.close()
    lab.stop_kernel(name)


def test_what_is_stored_is_shown_in_the_browser_without_running_it(first_page, lab):
    panel = first_page.locator(".jp-NotebookPanel")
    shows_its_pictures_and_is_saved_clean(first_page, panel, lab, "00_walkthrough")


def test_no_request_left_this_machine(asked, lab, trap):
    hosts = {url.split("/")[2] for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {lab.address.split("/")[2]}
    assert trap.wanted == []
