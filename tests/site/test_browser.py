"""JupyterLab as `make lab` starts it, in a real Chromium, with a real mouse and real keys."""

import contextlib
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
from browser import FLAGS as QUIET
from browser import axe_script
from conftest import CHAPTERS, PROJECT, Family, wait_until
from hand import Pad
from playwright.sync_api import Page, expect, sync_playwright

from mnist_nb.saving import load_network

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
if not CHROMIUM:
    pytest.skip(
        "without Chromium JupyterLab is not tried; on Debian: apt-get install chromium",
        allow_module_level=True,
    )

SCREENSHOTS = PROJECT / "build" / "screenshots"
TABS = ".lm-DockPanel-tabBar"
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
            if session["path"] == f"notebooks/{name}.ipynb":
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
    workspace = f"/lab/workspaces/of-{name}/tree/notebooks/{name}.ipynb"
    page.goto(f"{lab.address}{workspace}?token={lab.token}", wait_until="domcontentloaded")
    return ready(page)


def open_beside(page: Page, name: str):
    """The panel of one more notebook, opened with the mouse: a page costs ten times as much."""
    files = page.locator(".jp-DirListing-itemText")
    if not files.first.is_visible():
        page.locator(".jp-SideBar [data-id=filebrowser]").click()
        expect(files.first).to_be_visible()
    if not (file := files.filter(has_text=f"{name}.ipynb")).is_visible():
        files.filter(has_text=re.compile("^notebooks$")).dblclick()
    file.dblclick()
    expect(page.locator(f"{TABS} .lm-mod-current")).to_contain_text(name)
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


def save(page: Page, lab: Lab, name: str) -> Path:
    """Save the notebook in front; return its file."""
    path = lab.project / "notebooks" / f"{name}.ipynb"
    before = path.stat().st_mtime_ns
    prompts = page.locator(
        ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell .jp-InputArea-prompt"
    )
    prompts.locator("visible=true").first.click()  # not a folded one
    page.keyboard.press("Control+s")
    wait_until(lambda: path.stat().st_mtime_ns > before and whole(path), "it is saved")
    return path


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


LIVE = "live"
NEEDED = {
    "06_evaluation": ("imports", "train", "first", "first-picture", "pad"),
    "05_training_loop": ("imports", "images", "fresh", "stepper-run", "stepper"),
    "02_optimizer": ("imports", "what-if-runs", "what-if"),
}


def small_notebook() -> nbformat.NotebookNode:
    """Return what the live parts of three chapters need, and a figure.

    That takes a kernel seconds; of the chapters as they are, nbval executes every cell.
    """
    small = nbformat.v4.new_notebook()
    for name, needed in NEEDED.items():
        chapter = nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", as_version=4)
        small.metadata = chapter.metadata
        for cell in [cell for cell in chapter.cells if cell.id in needed]:
            if cell.id == "pad":
                cell.source = f"test = load(train=False)\n{cell.source}"
            cell.id += f"-{name[:2]}"
            small.cells.append(cell)
    return small


@pytest.fixture(scope="module")
def opened_live(new_page, lab):
    """A page with the small notebook, and its panel, before a cell is run."""
    nbformat.write(small_notebook(), lab.project / "notebooks" / f"{LIVE}.ipynb")
    page = new_page()
    yield page, open_notebook(page, lab, LIVE)
    page.close()


@pytest.fixture(scope="module")
def stored_parts(opened_live) -> list[str]:
    """What stands in the places of the live parts before a cell is run."""
    parts = opened_live[1].locator(".mnist-nb-live")
    expect(parts).to_have_count(len(NEEDED))
    for part in parts.all():
        part.scroll_into_view_if_needed()
        expect(part.get_by_role("img").first).to_be_visible()
    return [part.inner_html() for part in parts.all()]


@pytest.fixture(scope="module")
def live_parts(opened_live, stored_parts):
    """The drawing pad, the stepper and the sliders, every cell run."""
    run_all(*opened_live)
    return opened_live[1].locator(".mnist-nb-live")


def test_the_server_listens_on_this_machine_only_and_wants_its_token(lab):
    assert lab.server["hostname"] == LOOPBACK and len(lab.token) >= 32
    assert json.loads(lab.ask("kernels")) == []
    with pytest.raises(urllib.error.HTTPError, match="403"):
        lab.ask("kernels", token="")


def test_a_learner_finds_the_walkthrough_with_its_contents_and_no_news(first_page):
    page = first_page
    panel = page.locator(".jp-NotebookPanel")
    expect(panel).to_have_count(1)
    expect(panel.locator("h1").first).to_be_visible()
    contents = page.locator(".jp-TableOfContents-tree")
    expect(contents).to_be_visible()
    walkthrough = nbformat.read(PROJECT / "notebooks" / "00_walkthrough.ipynb", as_version=4)
    text = "\n".join(c.source for c in walkthrough.cells if c.cell_type == "markdown")
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)  # their numbers, if any, are their own
    assert len(sections) > 3
    for place, section in enumerate(sections, start=1):
        expect(contents.get_by_role("treeitem").nth(place)).to_have_accessible_name(section)
    page.wait_for_timeout(3000)  # when a question about news would have come
    expect(page.locator(".Toastify__toast")).to_have_count(0)
    screenshot(page, "lab")


def test_a_notebook_not_yet_run_here_shows_a_picture_in_place_of_each_live_part(stored_parts):
    for stored in stored_parts:
        assert "<img" in stored or 'role="img"' in stored
        assert "<canvas" not in stored and "<button" not in stored
    assert "It works in JupyterLab once" in stored_parts[0]


# What axe finds in JupyterLab's own parts, whatever the notebook
JUPYTERLABS = {"aria-allowed-attr", "aria-input-field-name", "aria-required-children",
               "button-name"}  # fmt: skip


@pytest.fixture(scope="module")
def untouched(first_page):
    """Chapter 03 as it is stored, never run: JupyterLab does not trust it."""
    panel = open_beside(first_page, "03_loss")
    expect(panel.locator(".jp-OutputArea-output img").first).to_be_visible()
    return first_page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_a_chapter_but_what_is_jupyterlabs_own(untouched, theme):
    page = untouched
    page.emulate_media(color_scheme=theme)
    light = str(theme == "light").lower()
    expect(page.locator(f'body[data-jp-theme-light="{light}"]')).to_have_count(1)
    swapped = "none" if theme == "light" else "invert(1) hue-rotate(180deg)"
    shown = ".jp-NotebookPanel:not(.lm-mod-hidden)"
    expect(page.locator(f"{shown} img.mnist-nb-chart").first).to_have_css("filter", swapped)
    page.evaluate(axe_script())
    found = page.evaluate(
        f"async () => (await axe.run('{shown}')).violations.map(v => [v.id, v.nodes[0].html])"
    )
    ours = [v for v in found if v[0] not in JUPYTERLABS or "jp-OutputArea-output" in v[1]]
    assert ours == []


def test_the_file_browser_begins_at_the_notebooks_and_reaches_the_whole_project(untouched):
    page = untouched
    names = page.locator(".jp-DirListing-itemText")
    if not names.first.is_visible():
        page.locator(".jp-SideBar [data-id=filebrowser]").click()
    expect(names.filter(has_text="00_walkthrough.ipynb")).to_be_visible()
    page.locator(".jp-BreadCrumbs-home").click()
    expect(names.filter(has_text=re.compile("^README.md$"))).to_be_visible()


def test_a_notebook_that_nobody_touched_closes_without_a_question(untouched):
    page = untouched
    expect(page.locator(".lm-TabBar-tab.jp-mod-dirty")).to_have_count(0)
    expect(page.locator(f"{TABS} .lm-mod-current")).to_contain_text("03_loss")
    page.locator(f"{TABS} .lm-mod-current .lm-TabBar-tabCloseIcon").click()
    expect(page.locator(".jp-NotebookPanel")).to_have_count(1)
    expect(page.locator(".jp-Dialog")).to_have_count(0)


@pytest.fixture(scope="module")
def pad(live_parts):
    return Pad(live_parts.page, live_parts.first)


@pytest.fixture(scope="module")
def model():
    return load_network()


def draws_and_answers(pad: Pad, model, digits=(0, 5, 7)) -> None:
    """What is drawn is read at once, as Python would read it."""
    right = []
    for digit in digits:
        pad.draw(digit)
        assert pad.agrees_with(model)
        right.append(pad.answer() == digit)
    screenshot(pad.page, f"drawn-{digits[-1]}")
    expect(pad.status).to_have_text(re.compile(r"The network reads \d\D+\d+%"))
    assert sum(right) >= 0.6 * len(right), right


def test_a_drawn_digit_is_read_as_python_reads_it(pad, model):
    draws_and_answers(pad, model)


def test_the_keyboard_reaches_the_pad_and_keys_are_not_taken_by_jupyterlab(pad):
    pad.wipe()
    for digit, key in zip(range(2), ["Enter", "Space"], strict=True):
        pad.page.keyboard.press("Tab")
        expect(pad.whole.get_by_role("button", name=f"Test digit {digit}")).to_be_focused()
        pad.page.keyboard.press(key)
        expect(pad.status).to_have_text(re.compile(rf"Test digit {digit}\. The network reads \d"))
    for key in "dd":  # JupyterLab's shortcut that deletes a cell
        pad.page.keyboard.press(key)
    expect(pad.whole).to_be_visible()


def wrong_in_theme(page: Page, light: str) -> list[str]:
    """What axe finds in the live part of a page, in a light or a dark theme."""
    before = page.evaluate("document.body.dataset.jpThemeLight")
    page.evaluate("light => document.body.dataset.jpThemeLight = light", light)
    page.evaluate(axe_script())
    found = page.evaluate("axe.run('.mnist-nb-live')")
    page.evaluate("light => document.body.dataset.jpThemeLight = light", before)
    assert found["passes"]
    return [wrong["id"] for wrong in found["violations"]]


@pytest.mark.parametrize("light", ["true", "false"])
def test_axe_finds_nothing_on_the_pad_in_a_light_and_a_dark_theme(pad, light):
    pad.take(4)
    assert wrong_in_theme(pad.page, light) == []


@pytest.fixture(scope="module")
def stepper(live_parts):
    yield live_parts.nth(1)
    live_parts.nth(1).screenshot(path=SCREENSHOTS / "stepper.png")


def test_the_five_steps_are_done_by_keyboard_and_none_of_the_keys_is_taken_by_jupyterlab(stepper):
    page, status = stepper.page, stepper.get_by_role("status")
    stepper.get_by_role("checkbox").first.focus()
    page.keyboard.press("Space")
    expect(stepper.get_by_role("checkbox").first).to_be_checked()
    for _ in range(3):
        page.keyboard.press("Tab")
    said = set()
    for key, number in zip(["Enter", "Space", "Enter", "Space"], (2, 4, 5, 1), strict=True):
        page.keyboard.press(key)
        expect(stepper.locator("[aria-current=step]")).to_contain_text(f"{number}.")
        said.add(status.inner_text())
    assert len(said) == 4


def test_the_arrow_keys_move_a_slider_and_not_jupyterlabs_selection(live_parts):
    slider = live_parts.last.get_by_role("slider").first
    slider.focus()
    for key in ("Home", "ArrowRight"):
        live_parts.page.keyboard.press(key)
    assert slider.input_value() == "1"
    expect(slider).to_be_focused()


@pytest.mark.parametrize("light", ["true", "false"])
def test_axe_finds_nothing_on_the_stepper_in_a_light_and_a_dark_theme(stepper, light):
    assert wrong_in_theme(stepper.page, light) == []


def test_the_pad_answers_after_the_kernel_has_been_restarted(pad, model, lab):
    (kernel,) = [session["kernel"]["id"] for session in json.loads(lab.ask("sessions"))
                 if session["path"].endswith(f"{LIVE}.ipynb")]  # fmt: skip
    lab.ask(f"kernels/{kernel}/restart", "POST")
    draws_and_answers(pad, model)


def test_the_pad_answers_in_a_saved_notebook_that_is_opened_again(pad, model, lab, first_page):
    save(pad.page, lab, LIVE)
    panel = open_beside(first_page, LIVE)
    draws_and_answers(Pad(first_page, panel.locator(".mnist-nb-live").first), model)


def shows_its_pictures_and_is_saved_clean(page: Page, panel, lab: Lab, name: str) -> None:
    path = PROJECT / "notebooks" / f"{name}.ipynb"
    stored = small_notebook() if name == LIVE else nbformat.read(path, as_version=4)
    outputs = [output for cell in stored.cells for output in cell.get("outputs", [])]
    alts = [o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})]
    shown = panel.locator(".jp-OutputArea-output img:not(.mnist-nb-live img)")
    assert alts
    expect(shown).to_have_count(len(alts))
    assert shown.evaluate_all("all => all.map(image => image.alt)") == alts
    assert shown.evaluate_all("all => all.every(image => image.naturalWidth > 0)")
    wrong = panel.locator('[data-mime-type*="stderr"], [data-mime-type*="error"]')
    expect(wrong).to_have_count(0)
    screenshot(page, name)

    saved = nbformat.read(save(page, lab, name), as_version=4)
    assert not any("execution" in cell.metadata for cell in saved.cells)


def test_a_notebook_that_was_run_in_the_browser_shows_its_pictures(opened_live, live_parts, lab):
    shows_its_pictures_and_is_saved_clean(*opened_live, lab, LIVE)


@pytest.mark.whole  # that of the live parts, above, is run and saved in the same way
@pytest.mark.parametrize("name", [path.stem for path in CHAPTERS])
def test_a_chapter_runs_in_the_browser_and_shows_its_pictures(name, new_page, lab):
    page = new_page()
    panel = open_notebook(page, lab, name)
    run_all(page, panel)
    shows_its_pictures_and_is_saved_clean(page, panel, lab, name)
    page.close()
    lab.stop_kernel(name)


def test_what_is_stored_is_shown_in_the_browser_without_running_it(first_page, lab):
    first_page.locator(f"{TABS} .lm-TabBar-tab").filter(has_text="00_walkthrough").click()
    panel = ready(first_page)
    shows_its_pictures_and_is_saved_clean(first_page, panel, lab, "00_walkthrough")


def test_no_request_left_this_machine(asked, lab, trap):
    hosts = {url.split("/")[2] for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {lab.address.split("/")[2]}
    assert trap.wanted == []
