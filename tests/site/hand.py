"""A hand for the drawing pad: it draws with mouse and finger, and reads what the pad shows."""

import torch
from playwright.sync_api import Locator, Page, expect

from mnist_nb.live.pad import centred

SIDE = 140  # of the drawing that the pad reads
EMPTY = "Draw a digit above"
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
# the drawing as the pad reads it, or a picture that it shows: a byte per pixel
PIXELS = """(canvas, side) => {
    const small = document.createElement("canvas");
    small.width = small.height = side;
    const ink = small.getContext("2d");
    ink.drawImage(canvas, 0, 0, side, side);
    return Array.from(ink.getImageData(0, 0, side, side).data.filter((_, i) => i % 4 == 0));
}"""
# a frame is drawn after the pad has read what changed before it
FRAME = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"


class Pad:
    """The drawing pad on a page, or in a part of it, and a hand for it."""

    def __init__(self, page: Page, whole: Locator | None = None):
        self.page, self.whole = page, whole or page.locator(".mnist-nb-live")
        self.pad, self.seen = self.whole.locator(".pad"), self.whole.locator(".seen")
        self.clear = self.whole.get_by_role("button", name="Clear")
        self.status = self.whole.get_by_role("status")
        self.whole.scroll_into_view_if_needed()
        expect(self.status).to_contain_text(EMPTY)  # it has settled

    def pixels(self, canvas, side: int) -> torch.Tensor:
        return torch.tensor(canvas.evaluate(PIXELS, side)).view(side, side)

    def drawing(self) -> torch.Tensor:
        """What is on the pad, from 0 to 1."""
        return self.pixels(self.pad, SIDE).float() / 255

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place on the page of a place on the pad, in shares of its width and height."""
        self.pad.scroll_into_view_if_needed()
        box = self.pad.bounding_box()
        return box["x"] + box["width"] * x, box["y"] + box["height"] * y

    def draw(self, digit: int, left: float = 0.12, top: float = 0.12, size: float = 0.76) -> None:
        """Draw with the mouse, each in shares of the pad, and wait until it is read."""
        self.wipe()
        for stroke in DIGITS[digit]:
            points = [self.at(left + size * x, top + size * y) for x, y in stroke]
            self.page.mouse.move(*points[0])
            self.page.mouse.down()
            for point in points[1:]:
                self.page.mouse.move(*point, steps=6)
            self.page.mouse.up()
        self.page.evaluate(FRAME)

    def wipe(self) -> None:
        self.clear.click()
        expect(self.status).to_contain_text(EMPTY)

    def take(self, digit: int) -> None:
        """Take a digit of the test set, and wait until it is read."""
        self.whole.get_by_role("button", name=f"Test digit {digit}").click()
        self.page.evaluate(FRAME)

    def probabilities(self) -> torch.Tensor:
        """The answer, at full precision."""
        shown = self.whole.locator("tbody tr").evaluate_all("rows => rows.map(row => row.title)")
        return torch.tensor([float(p) for p in shown], dtype=torch.double)

    def answer(self) -> int:
        """The most probable digit of the table."""
        return int(self.whole.locator("tr.first th").inner_text())

    def agrees_with(self, model) -> bool:
        """Is the picture that of Python, and is the answer within 1e-6 of its?"""
        image = centred(self.drawing())
        # a value halfway between two bytes may become either
        assert (self.pixels(self.seen, 28) - image * 255).abs().max() < 0.51, "the picture"
        return bool((self.probabilities() - answered(model, image)).abs().max() < 1e-6)


@torch.no_grad()
def answered(model, image: torch.Tensor) -> torch.Tensor:
    """Python's probabilities for one image."""
    return model.eval()(image.view(1, 784)).softmax(dim=1)[0].double()
