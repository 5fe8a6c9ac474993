"""A real browser for tests: Debian's Chromium, driven by Playwright, with no network."""

import contextlib
import os
import shutil

import pytest

from mnist_nb.errors import DataError
from mnist_nb.tools.cached_wheel import cached_wheel

# what Chromium would do by itself besides showing the page is switched off
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip
# axe-core 4.12.1 (npm's file and a line end), held to the wheel's hash like reveal.js
AXE = "axe-playwright-python==0.1.8"
AXE_SHA256 = "fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8"


@contextlib.contextmanager
def chromium():
    """The browser; where there is none, the test is skipped and says how to get it."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium, then make test again")
    # on a machine whose network is a proxy, the browser shall not know it
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, env=env)
        yield browser
        browser.close()


def axe_script() -> str:
    """axe-core's script; without it, and without a network, the test is skipped."""
    try:
        with cached_wheel(AXE, AXE_SHA256) as wheel:
            return wheel.read("axe_playwright_python/axe.min.js").decode()
    except DataError as error:
        pytest.skip(f"no axe-core here: {error}")


# Contrast takes most of the time, and follows from what is compared here: of the texts that have
# the same colours and letters, one is enough.
RUN = """async ([every, within]) => {
    const run = (where, options) => axe.run(where, {...options, resultTypes: ['violations']});
    if (every) return (await run(within, {})).violations;
    const ground = e => {
        if (!e) return '';
        const style = getComputedStyle(e);
        return `${ground(e.parentElement)}${style.backgroundColor}${style.opacity}`;
    };
    const kinds = new Map();
    for (const e of document.querySelectorAll('body *')) {
        if (![...e.childNodes].some(n => n.nodeType == Node.TEXT_NODE && n.data.trim()))
            continue;
        const style = getComputedStyle(e);
        const kind = `${style.color}${style.fontSize}${style.fontWeight}${ground(e)}`;
        if (!kinds.has(kind) && e.checkVisibility({visibilityProperty: true}))
            kinds.set(kind, e);
    }
    const rest = await run(document, {rules: {'color-contrast': {enabled: false}}});
    const contrast = await run({include: [...kinds.values()]}, {runOnly: ['color-contrast']});
    return [...rest.violations, ...contrast.violations];
}"""


def violations(page, script: str, every: bool, within: str = "html") -> list[str]:
    """What axe-core finds on the page: the rule, and the first element that breaks it.

    With the contrast of `every` text `within` a selector, or with that of one text of each kind.
    """
    page.evaluate(script)
    found = page.evaluate(RUN, [every, within])
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found]
