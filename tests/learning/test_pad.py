"""The drawing pad without a browser: how a drawing is prepared, and what the output carries."""

import base64
import json

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from torch import nn

from mnist_nb.errors import NetworkError
from mnist_nb.live.pad import centred, digit_pad
from mnist_nb.loading import load
from mnist_nb.model import build_model

SIDE = 140


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


def data_of(pad) -> dict:
    soup = BeautifulSoup(pad.html, "html.parser")
    return json.loads(soup.find("script", type="application/json").string)


def test_each_digit_of_the_test_set_is_offered_once_in_order(test_digits):
    assert data_of(digit_pad(build_model(), test_digits))["labels"] == list(range(10))


def numbers(stored: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(stored["base64"]), stored["array"].lower())


def test_the_page_gets_the_weights_input_after_input_and_the_biases(test_digits):
    model = build_model()
    for number, layer in zip(
        (0, 2, 5), data_of(digit_pad(model, test_digits))["network"]["layers"], strict=True
    ):
        weight = numbers(layer["weight"]).reshape(layer["inputs"], layer["outputs"])
        assert np.array_equal(weight.T, model[number].weight.detach())
        assert np.array_equal(numbers(layer["bias"]), model[number].bias.detach())


def test_a_network_gives_the_same_pad_whether_it_trains_or_not_and_goes_on_training(test_digits):
    model = build_model()
    training = digit_pad(model, test_digits)
    assert model.training and repr(training) == training.text
    assert training.html == digit_pad(model.eval(), test_digits).html


def test_no_random_number_is_drawn_for_it(test_digits):
    model, before = build_model(), torch.get_rng_state()
    digit_pad(model, test_digits)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("model", [nn.Linear(784, 10), nn.Sequential(nn.Linear(784, 10))])
def test_a_network_that_the_page_would_read_wrongly_is_refused_in_a_sentence(model, test_digits):
    with pytest.raises(NetworkError, match="build_model"):
        digit_pad(model, test_digits)
