"""The drawing pad without a browser: what the page would send, and what it gets."""

import pytest
import torch
from torch import nn

from mnist_nb.digit_pad import EMPTY, SIDE, DigitPad, centred
from mnist_nb.loading import load


@pytest.fixture(scope="module")
def test_digits(data_root):
    return load(train=False)


def drawn(thickness: int, size: int = 60, top: int = 0, left: int = 0) -> torch.Tensor:
    """A drawing with a seven in it, `size` high."""
    drawing = torch.zeros(SIDE, SIDE)
    drawing[top : top + thickness, left : left + size // 2] = 1
    drawing[top : top + size, left + size // 2 : left + size // 2 + thickness] = 0.8
    return drawing


def centre_of_mass(image: torch.Tensor) -> torch.Tensor:
    places = torch.arange(28.0)
    return torch.stack([image.sum(1) @ places, image.sum(0) @ places]) / image.sum()


@pytest.mark.parametrize(("top", "left"), [(0, 100), (80, 0), (80, 100), (33, 47)])
def test_a_digit_drawn_anywhere_gives_the_same_image(top, left):
    assert torch.equal(centred(drawn(8, top=top, left=left)), centred(drawn(8)))


@pytest.mark.parametrize("scale", [1, 2])
def test_small_and_large_fill_20_pixels_with_the_centre_of_mass_at_14(scale):
    image = centred(drawn(8 * scale, 60 * scale))
    inked = (image > 0).any(dim=1).nonzero()
    assert inked[-1] - inked[0] == 19
    assert (centre_of_mass(image) - 14).abs().max() <= 0.5
    assert (image - centred(drawn(8))).abs().max() < 0.05


def test_no_ink_gives_no_ink():
    assert torch.equal(centred(torch.zeros(SIDE, SIDE)), torch.zeros(28, 28))


def test_ink_of_one_pixel_or_on_one_side_stays_inside():
    dot = torch.zeros(SIDE, SIDE)
    dot[139, 0] = 1
    assert centred(dot).sum() == 400
    heavy = drawn(1, 130)
    heavy[125:130] = 1
    assert (centred(heavy)[0] > 0).any() and (centred(heavy.flip(0))[-1] > 0).any()


def test_real_test_digits_come_back_as_they_are(test_digits):
    images = test_digits.x[:2000, 0]
    again = torch.stack([centred(image) for image in images])
    assert (again == images).flatten(1).all(dim=1).float().mean() > 0.999


class Place(nn.Module):
    """A network for tests: sure of the digit that has its own number of white pixels."""

    def __init__(self, scale: float = 9.0):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        count = (x > 0.5).sum(dim=1) % 10
        return self.scale * nn.functional.one_hot(count, 10).float()


@pytest.fixture
def pad(test_digits):
    return DigitPad(Place(), test_digits)


def send(pad, drawing) -> None:
    """What arrives when the page sends a drawing."""
    if isinstance(drawing, torch.Tensor):
        drawing = memoryview(drawing.mul(255).round().byte().numpy().tobytes())
    pad.set_state({"drawing": drawing, "turn": pad.turn + 1})
    assert pad.answered == pad.turn


def test_a_drawing_is_answered_with_picture_probabilities_and_a_sentence(pad):
    send(pad, drawn(8, top=30))
    image = centred(drawn(8))
    wanted = int((image > 0.5).sum()) % 10
    assert max(range(10), key=pad.probabilities.__getitem__) == wanted
    assert sum(pad.probabilities) == pytest.approx(1)
    assert pad.message.startswith(f"The network reads {wanted}") and "100%" in pad.message
    assert bytes(pad.picture) == image.mul(255).round().byte().numpy().tobytes()


def test_dropout_is_off_while_it_reads_and_training_goes_on_after_it(test_digits):
    model = nn.Sequential(nn.Linear(784, 10), nn.Dropout(0.9))
    pad = DigitPad(model, test_digits)
    answers = []
    for _ in range(2):
        send(pad, torch.zeros(SIDE, SIDE))
        send(pad, drawn(8))
        answers.append(pad.probabilities)
    assert answers[0] == answers[1] and model.training
    send(DigitPad(model.eval(), test_digits), drawn(8))
    assert not model.training


def test_the_same_drawing_sent_again_is_answered_again(pad):
    for turn in (1, 2, 3):
        send(pad, drawn(8))
        assert pad.answered == turn


def test_a_cleared_pad_has_no_answer(pad):
    send(pad, drawn(8))
    send(pad, torch.zeros(SIDE, SIDE))
    assert pad.probabilities == [] and pad.message == EMPTY and not any(pad.picture)


@pytest.mark.parametrize(
    "sent",
    [memoryview(b""), memoryview(bytes(SIDE**2 + 1)), "words", 10**12, None, [0] * SIDE**2],
)
def test_what_is_no_drawing_is_ignored_with_a_sentence(pad, sent):
    send(pad, drawn(8))
    before = pad.probabilities, pad.picture
    send(pad, sent)
    assert "19,600" in pad.message
    assert (pad.probabilities, pad.picture) == before
    send(pad, drawn(8, size=90))
    assert "The network reads" in pad.message


def test_a_network_whose_answer_is_no_number_says_so(test_digits):
    pad = DigitPad(Place(float("nan")), test_digits)
    send(pad, drawn(8))
    assert pad.probabilities == [] and "nan" in pad.message


def test_a_row_of_test_digits_one_of_each_is_offered(pad, test_digits):
    assert pad.labels == list(range(10))
    for number, label in enumerate(pad.labels):
        first = test_digits.x[test_digits.y == label][0, 0]
        stored = pad.examples[784 * number : 784 * (number + 1)]
        assert stored == first.mul(255).round().byte().numpy().tobytes()


def test_a_test_digit_drawn_large_gives_the_network_that_very_digit(pad):
    for number in range(10):
        digit = pad.examples[784 * number : 784 * (number + 1)]
        small = torch.frombuffer(bytearray(digit), dtype=torch.uint8).view(28, 28)
        large = small.repeat_interleave(5, dim=0).repeat_interleave(5, dim=1)
        send(pad, memoryview(large.numpy().tobytes()))
        assert pad.picture == digit


def test_what_is_stored_of_the_pad_is_always_the_same_text(pad, test_digits):
    assert repr(pad) == repr(DigitPad(Place(), test_digits))
    assert pad._repr_mimebundle_()[0]["text/plain"] == repr(pad)
