"""Train the network of chapter 05 with one result on every machine, to the last bit.

`live/network.js` does the same in a page. Sums are made in double precision, in one fixed order,
and stored in single; what else it takes stands in `arithmetic.py`.
"""

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np

from mnist_nb.arithmetic import exp, log, product, random_words, total

PIXELS, CLASSES = 784, 10
WEIGHTS, BIASES, SPLIT, DROPOUT = range(4)  # uses of random numbers; no two share any

without_warnings = np.errstate(over="ignore", invalid="ignore")  # `train` says if it diverges


def new_network(seed: int = 0, hidden: int = 64) -> dict:
    """Return three layers, with parameters drawn from the ranges that torch draws them from."""

    def draw(*shape: int, inputs: int, use: int) -> np.ndarray:
        words = random_words(int(np.prod(shape)), seed, use, len(layers))
        return ((words / 2**31 - 1) / np.sqrt(inputs)).astype(np.float32).reshape(shape)

    layers = []
    for i, o in ((PIXELS, hidden), (hidden, hidden), (hidden, CLASSES)):
        parameters = {
            "weight": draw(i, o, inputs=i, use=WEIGHTS),
            "bias": draw(o, inputs=i, use=BIASES),
        }
        layers.append({"inputs": i, "outputs": o, **parameters})
    return {"layers": layers}


def new_state(network: dict, dropout: float = 0.0, seed: int = 0) -> SimpleNamespace:
    """Return what the five steps read and write, before the first batch.

    `gradients`: of the loss with respect to parameters; `deltas`: to each layer's sums x W + b.
    """
    gradients = [{k: np.zeros_like(v[k]) for k in ("weight", "bias")} for v in network["layers"]]
    return SimpleNamespace(network=network, dropout=dropout, seed=seed, passes=0, finite=True,
                           deltas=[None] * 3, gradients=gradients)  # fmt: skip


def take_batch(state: SimpleNamespace, data: dict, numbers: np.ndarray) -> None:
    """Put the images with these numbers into the state: pixels from 0 to 1, or bytes."""
    images = data["images"][numbers]
    x = (images / (255 if images.dtype == np.uint8 else 1)).astype(np.float32)
    state.activations, state.labels = [x, None, None, None], data["labels"][numbers]


@without_warnings
def apply_layer(layer: dict, x: np.ndarray, relu: bool) -> np.ndarray:
    """Return what a layer gives for each row of x."""
    sums = product(x, layer["weight"]) + layer["bias"]
    return np.where(relu & (sums < 0), 0, sums).astype(np.float32)


@without_warnings
def softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities, and for each row ln of the sum of e^logit."""
    most = logits.max(axis=1, keepdims=True).astype(float)
    powers = exp(logits - most)
    sums = total(powers.T)[:, None]
    return powers / sums, (most + log(sums))[:, 0]


def read_digit(network: dict, image: np.ndarray) -> np.ndarray:
    """Return the ten probabilities for an image of 784 pixels, without dropout."""
    x = np.asarray(image, np.float32).reshape(1, PIXELS)
    for n, layer in enumerate(network["layers"]):
        x = apply_layer(layer, x, n < 2)
    return softmax(x)[0][0]


def forward(state: SimpleNamespace) -> np.ndarray:
    """Step 1: the forward pass, with dropout after the second ReLU; return the logits."""
    for n, layer in enumerate(state.network["layers"]):
        y = apply_layer(layer, state.activations[n], n < 2)
        if n == 1 and state.dropout > 0:
            words = random_words(y.size, state.seed, DROPOUT, state.passes).reshape(y.shape)
            larger = y.astype(float) * (1 / (1 - state.dropout))
            y = np.where(words < state.dropout * 2**32, 0, larger).astype(np.float32)
            state.passes += 1
        state.activations[n + 1] = y
    return y


def loss(state: SimpleNamespace) -> float:
    """Step 2: the mean of -ln(probability of the right class)."""
    logits = state.activations[3]
    state.probabilities, sums = softmax(logits)
    right = logits[np.arange(len(logits)), state.labels]
    state.loss = float(total(sums - right) / len(logits))
    return state.loss


def clear(state: SimpleNamespace) -> None:
    """Step 3: clear the gradients."""
    for gradient in state.gradients:
        gradient["weight"][:] = gradient["bias"][:] = 0


@without_warnings
def backward(state: SimpleNamespace) -> None:
    """Step 4: add this batch's gradients to what is there, from the last layer to the first."""
    wrong = state.probabilities - np.eye(CLASSES)[state.labels]
    state.deltas[2] = (wrong / len(wrong)).astype(np.float32)  # dJ/d(logits)
    for n in (2, 1, 0):
        x, delta, gradient = state.activations[n], state.deltas[n], state.gradients[n]
        gradient["weight"] += product(x.T, delta)
        gradient["bias"] += total(delta)
        if n > 0:  # where ReLU or dropout gave 0, the slope is 0
            kept = 1 / (1 - state.dropout) if n == 2 else 1
            before = product(delta, state.network["layers"][n]["weight"].T) * kept
            state.deltas[n - 1] = np.where(x > 0, before, 0).astype(np.float32)


@without_warnings
def step(state: SimpleNamespace, lr: float) -> None:
    """Step 5: move every parameter against its gradient."""
    for layer, gradient in zip(state.network["layers"], state.gradients, strict=True):
        for name, slopes in gradient.items():
            layer[name][:] = layer[name] - lr * slopes.astype(float)
            state.finite &= bool(np.isfinite(layer[name]).all())


def split(count: int, seed: int) -> dict:
    """Split the numbers 0 to count - 1 at random: a twelfth for validation, 5,000 of 60,000."""
    order = np.argsort(random_words(count, seed, SPLIT), kind="stable")
    return {"train": order[: count - count // 12], "val": order[count - count // 12 :]}


def train(data: dict, *, lr=0.01, batch_size=32, hidden=64, dropout=0.1, seed=0, epochs=5,
          network=None) -> Iterator[dict]:  # fmt: skip
    """Train a new network, or `network`, on data["images"] and data["labels"].

    Yields {epoch, step, steps, loss} after each batch, and after each epoch {epoch, train_loss,
    val_loss, val_accuracy}: means of the batches' losses, as in chapter 05, and the fraction of
    right answers. When a number is no longer finite, the last yielded has {diverged: True}.
    """
    parts = split(len(data["labels"]), seed)
    state = new_state(network or new_network(seed, hidden), dropout, seed)
    steps = -(-len(parts["train"]) // batch_size)

    def batches(numbers):
        for start in range(0, len(numbers), batch_size):
            take_batch(state, data, numbers[start : start + batch_size])
            forward(state)
            yield loss(state)

    for epoch in range(1, epochs + 1):
        losses, val_losses, right = [], [], 0
        for value in batches(parts["train"]):
            losses.append(value)
            report = {"epoch": epoch, "step": len(losses), "steps": steps, "loss": value}
            if np.isfinite(value):
                clear(state)
                backward(state)
                step(state, lr)
            if not (np.isfinite(value) and state.finite):
                yield report | {"diverged": True}
                return
            yield report
        for value in batches(parts["val"]):
            val_losses.append(value)
            right += int((state.activations[3].argmax(axis=1) == state.labels).sum())
        report = {"epoch": epoch, "train_loss": float(total(losses) / len(losses)),
                  "val_loss": float(total(val_losses) / len(val_losses)),
                  "val_accuracy": right / len(parts["val"])}  # fmt: skip
        if not np.isfinite(report["val_loss"]):
            yield report | {"diverged": True}
            return
        yield report
