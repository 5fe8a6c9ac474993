"""Train the exact network: in Python, and in a browser, with a page that posts what it found."""

import hashlib
import json
import math
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mnist_nb import exact
from mnist_nb.files import PROJECT

LIVE = PROJECT / "mnist_nb" / "live"
BROWSERS = {
    "chromium": ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--user-data-dir={profile}", "{url}"],
    "firefox-esr": ["--headless", "--no-remote", "--profile", "{profile}", "{url}"],
}  # fmt: skip
# Firefox shall open the page, and nothing else
USER_JS = "".join(
    f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
    for name, value in {
        "network.proxy.type": 0, "browser.shell.checkDefaultBrowser": False,
        "browser.aboutwelcome.enabled": False, "app.update.enabled": False,
        "datareporting.policy.dataSubmissionEnabled": False,
        "toolkit.telemetry.enabled": False, "app.normandy.enabled": False,
    }.items()
)  # fmt: skip
PAGE = """<!doctype html><script>
const text = async name => (await fetch(name)).text();
const bytes = async name => new Uint8Array(await (await fetch(name)).arrayBuffer());
(async () => {
    const asked = JSON.parse(await text("asked")), found = [];
    const data = {images: await bytes("images"), labels: await bytes("labels")};
    for (const program of JSON.parse(await text("programs")))
        found.push(await new Function(program)()(asked, data));
    return found;
})().then(found => JSON.stringify(found), error => JSON.stringify(String(error)))
    .then(body => fetch("found", {method: "POST", body}));
</script>"""
# stands behind the program; floats arrive as they are, as JSON has enough digits of them
FIND = """
const sha256 = async network => {
    const parts = network.layers.flatMap(l => [l.weight, l.bias]);
    const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
    return [...new Uint8Array(digest)].map(b => b.toString(16).padStart(2, "0")).join("");
};
// The sum of each column, in the forward pass, as a gradient, and passed back.
const sums = columns => {
    const n = columns[0].length, outputs = columns.length, bias = new Float32Array(outputs);
    const rows = Float32Array.from({length: n * outputs}, (_, k) =>
        columns[k % outputs][Math.floor(k / outputs)]);
    const ones = new Float32Array(n).fill(1), results = [0, 1, 2].map(() => bias.slice());
    applyLayer({inputs: n, outputs, weight: rows, bias}, ones, results[0], 1, false);
    addGradients({inputs: 1, outputs}, ones, rows, {weight: results[1], bias}, n);
    passBack({inputs: outputs, outputs: n, weight: Float32Array.from(columns.flat())},
             ones, ones, results[2], 1, 1);
    return results.map(result => [...result]);
};
return async (asked, data) => {
    const runs = [];
    for (const {settings, steps} of asked.runs) {
        const network = newNetwork(settings), reports = [];
        for (const report of train(data, {...settings, network}))
            if (steps || !("step" in report) || report.diverged) reports.push(report);
        runs.push({reports, sha256: await sha256(network)});
    }
    return {
        words: asked.counters.map(([counter, key]) => philox(counter, key)),
        exp: asked.exp.map(exp), log: asked.log.map(log), sums: sums(asked.columns), runs,
    };
};
"""


def sha256(network: dict) -> str:
    parts = [layer[name] for layer in network["layers"] for name in ("weight", "bias")]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def in_python(runs: list[dict], data: dict) -> list[dict]:
    """What the page finds for these runs, found here; JSON has no word for what is not finite."""
    found = []
    for run in runs:
        settings = run["settings"]
        network = exact.new_network(settings["seed"], settings.get("hidden", 64))
        reports = [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v
             for k, v in report.items()}
            for report in exact.train(data, network=network, **settings)
            if run["steps"] or "step" not in report or "diverged" in report
        ]  # fmt: skip
        found.append({"reports": reports, "sha256": sha256(network)})
    return found


def program(old: str = "", new: str = "") -> str:
    """The two modules as one function's body; with `new` in the place of `old`."""
    both = "".join((LIVE / f"{name}.js").read_text() for name in ("arithmetic", "network"))
    assert old in both, f"the program has no {old!r} to change"
    changed = both.replace(old, new) if old else both
    return re.sub(r"^import .*$|^export ", "", changed, flags=re.MULTILINE) + FIND


def in_page(browser: str, asked: dict, images: bytes, labels: bytes, programs: list[str]) -> list:
    """What `browser` finds, with each of the programs."""
    path = shutil.which(browser)
    if path is None:
        pytest.skip(f"no {browser} here: apt-get install {browser}, then make test again")
    answers = {"/": PAGE.encode(), "/asked": json.dumps(asked).encode(),
               "/programs": json.dumps(programs).encode(),
               "/images": images, "/labels": labels}  # fmt: skip
    found = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = answers.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content or b"")

        def do_POST(self):
            found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        (Path(profile) / "user.js").write_text(USER_JS)
        url = f"http://127.0.0.1:{server.server_port}/"
        words = [part.format(profile=profile, url=url) for part in BROWSERS[browser]]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(
            [path, *words], env=_no_proxy(), start_new_session=True, **quiet
        )
        try:
            while True:
                try:
                    answer = found.get(timeout=1)
                    break
                except queue.Empty:
                    assert process.poll() is None, f"{browser} ended without an answer"
        finally:
            _end(process)
            server.shutdown()
            server.server_close()
    assert isinstance(answer, list), answer
    return answer


def _no_proxy() -> dict:

    return {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}


def _end(process: subprocess.Popen) -> None:
    """End the browser with all that it has started."""

    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
