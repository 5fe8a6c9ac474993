"""Save a trained network in a file, and load it again. Mirrors no cell of the source."""

import hashlib
import json
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor, device, nn

from mnist_nb.errors import NetworkError
from mnist_nb.files import write_whole
from mnist_nb.model import build_model

WALKTHROUGH = Path(__file__).with_name("walkthrough.safetensors")  # `make refresh` writes it


def save_network(model: nn.Module, path: str | Path, parameters: dict) -> None:
    """Write the weights of `model` and its run's `parameters` to `path`, with a checksum."""
    weights = model.state_dict()
    about = {"parameters": parameters, "sha256": _checksum(weights, parameters)}
    try:  # a single entry, as safetensors writes several in any order
        write_whole(Path(path), save(weights, {"mnist_nb": json.dumps(about)}))
    except OSError as error:
        raise NetworkError(
            f"{path} cannot be written ({error.strerror}); save the network in a different folder"
        ) from error
    print(f"Saved: {sum(w.numel() for w in weights.values()):,} parameters, in {path}.")


def load_network(path: str | Path = WALKTHROUGH) -> nn.Sequential:
    """Return the network that `save_network` wrote to `path`, by default the walkthrough's.

    Loading draws no random numbers, and runs no code from the file, as a pickle would.
    """
    try:
        content = Path(path).read_bytes()
        weights = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = json.loads(header["__metadata__"]["mnist_nb"])
        parameters = about["parameters"]
        if _checksum(weights, parameters) != about["sha256"]:
            raise ValueError("its checksum is wrong")
        with device("meta"):  # shapes without numbers, so none are drawn
            model = build_model(parameters["hidden"], parameters["dropout"])
        model.to_empty(device="cpu").load_state_dict(weights)  # checks names and shapes
    except Exception as error:  # each library raises its own
        why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise NetworkError(
            f"{path} has no network that save_network wrote, or is damaged "
            f"({' '.join(why.split())[:90]}); give the network.safetensors of a run"
        ) from error
    return model


def _checksum(weights: dict[str, Tensor], parameters: dict) -> str:
    """Return one SHA-256 checksum of all that a file holds."""
    whole = hashlib.sha256(json.dumps(parameters).encode())
    for name in sorted(weights):
        whole.update(name.encode() + weights[name].cpu().numpy().tobytes())
    return whole.hexdigest()
