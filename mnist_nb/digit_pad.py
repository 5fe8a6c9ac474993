"""A drawing pad for JupyterLab: what does the network read in a digit of your own?

The page side is plain JavaScript and CSS in this file: nothing to build, nothing to load.
"""

import anywidget
import torch
import traitlets
from torch import Tensor, nn
from torch.nn.functional import interpolate

SIDE = 140  # pixels along each side of a drawing that the page sends
EMPTY = "Draw a digit above, or take one from the test set below."

# `data-lm-suppress-shortcuts`: or JupyterLab would take Enter and Space away from the buttons.
_ESM = """
const SIDE = 140, PEN = 20;
function canvasOf(view) {  // bytes, 0 black to 255 white -> a square canvas
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.sqrt(bytes.length);
  const image = new ImageData(canvas.width, canvas.height);
  bytes.forEach((b, i) => image.data.set([b, b, b, 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
function render({ model, el }) {
  el.classList.add("digit-pad");
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  el.innerHTML = `<div class="row"><figure>
      <canvas class="pad" width="280" height="280" role="img" aria-label="Drawing area for mouse,
        pen or finger. With the keyboard, take a digit from the test set below."></canvas>
      <figcaption><button class="clear">Clear</button></figcaption></figure>
    <figure><canvas class="seen" width="28" height="28" role="img"
        aria-label="The image that the network sees"></canvas>
      <figcaption>What the network sees:<br>28 × 28 pixels, centred</figcaption></figure>
    <table><caption>How probable is each digit?</caption><tbody></tbody></table></div>
    <p role="status"></p>
    <div class="row" role="group" aria-label="Digits of the test set"></div>`;
  const [pad, seen, tbody, status, group, clear] =
    [".pad", ".seen", "tbody", "p", "[role=group]", ".clear"].map((s) => el.querySelector(s));
  const ink = pad.getContext("2d");
  Object.assign(ink, { lineCap: "round", lineJoin: "round", lineWidth: PEN, strokeStyle: "#fff" });
  ink.imageSmoothingEnabled = false;
  for (let d = 0; d < 10; d++) tbody.insertAdjacentHTML("beforeend",
    `<tr><th scope="row">${d}</th><td class="track"><div></div></td><td class="share"></td></tr>`);
  const small = document.createElement("canvas");
  small.width = small.height = SIDE;
  const smallInk = small.getContext("2d", { willReadFrequently: true });
  let sending = null, settling = null, last = null, chosen = "";

  const put = (canvas) => ink.drawImage(canvas, 0, 0, pad.width, pad.height);
  const wipe = () => { ink.fillRect(0, 0, pad.width, pad.height); chosen = ""; };  // with black
  const send = () => {
    sending = null;
    smallInk.drawImage(pad, 0, 0, SIDE, SIDE);
    const grey = smallInk.getImageData(0, 0, SIDE, SIDE).data.filter((_, i) => i % 4 == 0);
    model.set({ drawing: new DataView(new Uint8Array(grey).buffer), turn: model.get("turn") + 1 });
    model.save_changes();
  };
  const soon = () => { sending ??= setTimeout(send, 50); };
  const settle = () => {  // a screen reader is told once, when pen and answer rest
    clearTimeout(settling);
    settling = setTimeout(() => {
      const text = chosen + model.get("message");
      const waiting = model.get("answered") != model.get("turn");
      if (!last && !sending && !waiting && status.textContent != text) status.textContent = text;
    }, 400);
  };
  const show = () => {
    const p = model.get("probabilities");
    seen.getContext("2d").drawImage(canvasOf(model.get("picture")), 0, 0);
    [...tbody.rows].forEach((row, d) => {
      row.classList.toggle("first", p.length > 0 && p[d] == Math.max(...p));
      row.querySelector("div").style.width = `${100 * (p[d] ?? 0)}%`;
      row.querySelector(".share").textContent = p.length ? `${Math.round(100 * p[d])} %` : "–";
    });
    settle();
  };
  const line = (event) => {
    const box = pad.getBoundingClientRect(), scale = pad.width / box.width;
    const to = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    ink.beginPath();
    ink.moveTo(...(last ?? to));
    ink.lineTo(...to);
    ink.stroke();
    last = to;
    soon();
  };
  pad.onpointerdown = (event) => {
    if (!event.isPrimary || event.button) return;
    pad.setPointerCapture(event.pointerId);
    chosen = "";
    line(event);
  };
  pad.onpointermove = (event) => {
    if (last && event.isPrimary) event.getCoalescedEvents().concat(event).forEach(line);
  };
  pad.onpointerup = pad.onpointercancel = () => { last = null; settle(); };
  clear.onclick = () => { wipe(); soon(); };
  const examples = model.get("examples");
  model.get("labels").forEach((label, i) => {
    const button = document.createElement("button");
    button.ariaLabel = `Test digit ${label}`;
    button.append(canvasOf(new DataView(examples.buffer, examples.byteOffset + 784 * i, 784)));
    button.onclick = () => { put(button.firstChild); chosen = `${button.ariaLabel}. `; soon(); };
    group.append(button);
  });
  wipe();
  put(canvasOf(model.get("drawing")));
  const answers = "change:picture change:probabilities change:message change:answered";
  model.on(answers, show);
  show();
  return () => model.off(answers, show);
}
export default { render };
"""
_CSS = """
.digit-pad { font: 16px/1.4 var(--jp-ui-font-family, sans-serif); padding: 4px;
  color: var(--jp-ui-font-color1, #212121); }
.digit-pad .row { display: flex; flex-wrap: wrap; gap: 8px 24px; align-items: flex-start; }
.digit-pad [role=group] { gap: 8px; }
.digit-pad figure { margin: 0; }
.digit-pad figure canvas { display: block; border: 2px solid #808080; margin-bottom: 8px; }
.digit-pad .pad { width: 280px; height: 280px; cursor: crosshair; touch-action: none; }
.digit-pad .seen { width: 140px; height: 140px; image-rendering: pixelated; }
.digit-pad button { font: inherit; color: inherit; padding: 4px 16px; cursor: pointer;
  background: var(--jp-layout-color2, #eee); border: 1px solid currentColor; border-radius: 4px; }
.digit-pad [role=group] button { padding: 4px; }
.digit-pad [role=group] canvas { display: block; width: 42px; }
.digit-pad :focus-visible { outline: 3px solid var(--jp-brand-color1, #1976d2); }
.digit-pad table { border-spacing: 8px 2px; }
.digit-pad caption, .digit-pad .share { text-align: right; white-space: nowrap; }
.digit-pad .track { width: 180px; background: var(--jp-layout-color3, #ccc); padding: 0; }
.digit-pad .track div { height: 18px; background: var(--jp-brand-color1, #1976d2); }
.digit-pad .share { min-width: 4em; }
.digit-pad .first { font-weight: bold; }
"""


def centred(drawing: Tensor) -> Tensor:
    """The image, 28 x 28, that MNIST's makers would have made of `drawing`.

    `drawing` is h x w, 0 black to 1 white. Its ink is fitted into 20 x 20 pixels, its shape
    kept, and its centre of mass is put at row 14, column 14. No ink gives no ink.
    """
    image = torch.zeros(28, 28)
    rows, columns = ((drawing > 0).any(dim=dim).nonzero().flatten() for dim in (1, 0))
    if len(rows):
        ink = drawing[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        h, w = (max(1, round(20 * n / max(ink.shape))) for n in ink.shape)
        ink = interpolate(ink[None, None], (h, w), mode="area")[0, 0]
        top, left = _start(ink.sum(dim=1)), _start(ink.sum(dim=0))
        image[top : top + h, left : left + w] = ink
    return image


def _start(profile: Tensor) -> int:
    """Where ink with this sum per row (or column) starts, so that its centre of mass is at 14."""
    centre = profile @ torch.arange(float(len(profile))) / profile.sum()
    return min(max(round(14 - centre.item()), 0), 28 - len(profile))


def _bytes(images: Tensor) -> bytes:
    """A byte per pixel of `images`, 0 to 1."""
    return images.mul(255).round().byte().numpy().tobytes()


def _sent(value) -> bytes:
    """What the page sent; no bytes if it was something else."""
    return bytes(value) if isinstance(value, memoryview) else b""


class DigitPad(anywidget.AnyWidget):
    """Draw a digit, or take one of a test set, and see what a network makes of it.

    The page sets `drawing` and counts `turn` up; `picture`, `probabilities` and `message` are the
    answer to the turn `answered`.
    """

    _esm, _css = _ESM, _CSS
    drawing = traitlets.Bytes(bytes(SIDE**2)).tag(sync=True, from_json=lambda v, _: _sent(v))
    turn = traitlets.Int(0).tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)
    picture = traitlets.Bytes(bytes(28 * 28)).tag(sync=True)
    probabilities = traitlets.List(traitlets.Float()).tag(sync=True)  # ten, or none
    message = traitlets.Unicode(EMPTY).tag(sync=True)
    examples = traitlets.Bytes().tag(sync=True)
    labels = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, model: nn.Module, test):
        """`model` takes b x 784 and gives b x 10; of `test`, the first image of each digit."""
        labels = test.y.unique()
        first = torch.stack([(test.y == label).nonzero()[0, 0] for label in labels])
        super().__init__(examples=_bytes(test.x[first]), labels=labels.tolist())
        self._model = model
        self.observe(self._read, "turn")

    def __repr__(self) -> str:
        return "A drawing pad. To use it, run this notebook in JupyterLab."

    def _read(self, change) -> None:
        with self.hold_sync():
            if len(self.drawing) == SIDE**2:
                self._answer()
            else:
                self.message = (
                    f"A drawing of {len(self.drawing):,} bytes came from the page and is ignored: "
                    f"{SIDE} x {SIDE} are wanted. Run the cell again."
                )
            self.answered = change.new

    @torch.no_grad()
    def _answer(self) -> None:
        pixels = torch.frombuffer(bytearray(self.drawing), dtype=torch.uint8)
        image = centred(pixels.view(SIDE, SIDE).float().div(255))
        training = self._model.training
        p = self._model.eval()(image.view(1, 784)).softmax(dim=1)[0]
        self._model.train(training)
        self.picture = _bytes(image)
        if not image.any():
            self.probabilities, self.message = [], EMPTY
        elif not p.isfinite().all():
            self.probabilities = []
            self.message = "The network's answer is no number: was it trained to an end?"
        else:
            self.probabilities = p.tolist()
            self.message = f"The network reads {p.argmax()}, with {100 * p.max():.0f} %."
