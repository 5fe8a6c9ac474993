"""Show a drawing pad in JupyterLab, on which you draw a digit and the network reads it.

Its page is plain JavaScript and CSS, in pad.js and pad.css, without a build step.
"""

from pathlib import Path

import anywidget
import torch
import traitlets
from torch import Tensor, nn
from torch.nn.functional import interpolate

SIDE = 140  # pixels along each side of a drawing that the page sends
EMPTY = "Draw a digit above, or pick one from the test set below."


def centred(drawing: Tensor) -> Tensor:
    """Return `drawing` as a 28 x 28 image, prepared as MNIST's makers prepared theirs.

    `drawing` is h x w, 0 (black) to 1 (white). Its ink is scaled to fit 20 x 20 pixels, and its
    centre of mass moves to row 14, column 14, or as near as fits. No ink gives a black image.
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
    """Return where to place ink with the row (or column) sums `profile`, to centre it at 14."""
    centre = profile @ torch.arange(float(len(profile))) / profile.sum()
    return min(max(round(14 - centre.item()), 0), 28 - len(profile))


def _bytes(images: Tensor) -> bytes:
    """Return `images`, with values from 0 to 1, as one byte (0 to 255) per pixel."""
    return images.mul(255).round().byte().numpy().tobytes()


class DigitPad(anywidget.AnyWidget):
    """Let the learner draw a digit, or pick one from a test set, and show the network's answer.

    The page sets `drawing` and increments `turn`. Python then sets `picture`, `probabilities` and
    `message`, and copies `turn` to `answered`.
    """

    _esm = Path(__file__).with_name("pad.js")
    _css = Path(__file__).with_name("pad.css")
    drawing = traitlets.Bytes(bytes(SIDE**2)).tag(
        sync=True,
        from_json=lambda sent, _: bytes(sent) if isinstance(sent, memoryview) else b"",
    )
    turn = traitlets.Int(0).tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)
    picture = traitlets.Bytes(bytes(28 * 28)).tag(sync=True)
    probabilities = traitlets.List(traitlets.Float()).tag(sync=True)  # ten, or none
    message = traitlets.Unicode(EMPTY).tag(sync=True)
    examples = traitlets.Bytes().tag(sync=True)
    labels = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, model: nn.Module, test):
        """Build a pad for `model` (b x 784 to b x 10), with an example of each digit in `test`."""
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
                    f"The page sent {len(self.drawing):,} bytes, but a drawing has {SIDE**2:,}. "
                    "It is ignored. Run the cell again."
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
            self.message = "The network's output is nan or inf; train it again with a smaller lr."
        else:
            self.probabilities = p.tolist()
            self.message = f"The network reads {p.argmax()} with {100 * p.max():.0f}% confidence."
