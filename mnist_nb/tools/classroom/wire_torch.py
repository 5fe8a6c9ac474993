"""Pack and unpack PyTorch's tensors, models, optimizers and generators, for `wire`.

Models and optimizers are those of a list: their classes, settings and numbers cross, and no code.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

_POOL = ("kernel_size", "stride", "padding")
_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
# the layers that cross, with the settings that each is made of
LAYERS = {
    nn.Sequential: (), nn.ModuleList: (), nn.Identity: (), nn.Tanh: (), nn.Sigmoid: (),
    nn.Linear: ("in_features", "out_features"), nn.Dropout: ("p", "inplace"),
    nn.ReLU: ("inplace",), nn.LeakyReLU: ("negative_slope", "inplace"),
    nn.ELU: ("alpha", "inplace"), nn.GELU: ("approximate",), nn.Softmax: ("dim",),
    nn.LogSoftmax: ("dim",), nn.Flatten: ("start_dim", "end_dim"), nn.Conv2d: _CONV,
    nn.MaxPool2d: _POOL, nn.AvgPool2d: _POOL, nn.BatchNorm1d: _NORM, nn.BatchNorm2d: _NORM,
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
}  # fmt: skip
_NAMES = {layer.__name__: layer for layer in LAYERS}
_BIASED = (nn.Linear, nn.Conv2d)
OPTIMIZERS = {
    optimizer.__name__: optimizer
    for optimizer in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
}
_DTYPES = {
    str(dtype): dtype
    for dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
                  torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64)
}  # fmt: skip


class Handler(NamedTuple):
    """How one kind of object crosses: `fits` says whether a value is of this kind, `pack` gives
    its JSON, `new` makes one, `fill` makes it what JSON says and returns whether that changed it.
    """

    fits: Callable
    pack: Callable
    new: Callable
    fill: Callable


# --- tensors


def _raw(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().flatten()
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def _is_tensor(value: object) -> bool:
    return (isinstance(value, torch.Tensor) and value.layout == torch.strided
            and str(value.dtype) in _DTYPES and value.device.type == "cpu")  # fmt: skip


def _pack_tensor(crossing, tensor: torch.Tensor, number: int) -> list:
    raw, leaf = _raw(tensor), tensor.is_leaf
    place = None if crossing.told.get(number) == raw else crossing.blob(raw)
    crossing.told[number] = raw
    flags = [tensor.requires_grad, leaf, isinstance(tensor, nn.Parameter)]
    grad = crossing.out(tensor.grad) if leaf and tensor.grad is not None else None
    return [str(tensor.dtype), list(tensor.shape), place, flags, grad]


def _new_tensor(crossing, dtype: str, shape: list, place: list, flags: list, grad) -> torch.Tensor:
    wants, leaf, parameter = map(bool, flags)
    tensor = _plain(crossing, dtype, shape, crossing.bytes_at(place))
    if parameter:
        return nn.Parameter(tensor, requires_grad=wants)
    if wants:
        with torch.enable_grad():
            tensor.requires_grad_()
            return tensor if leaf else tensor.clone()
    return tensor


def _plain(crossing, dtype: str, shape: list, raw: bytes) -> torch.Tensor:
    kind, shape = _DTYPES[dtype], [int(size) for size in shape]
    if len(shape) > 32 or min(shape, default=0) < 0:
        raise ValueError("no tensor has this shape")
    if math.prod(shape) * kind.itemsize != len(raw):
        raise ValueError("there are too many or too few numbers")
    flat = torch.frombuffer(bytearray(raw), dtype=kind) if raw else torch.empty(0, dtype=kind)
    return flat.reshape(shape)


def _fill_tensor(
    crossing, tensor: torch.Tensor, number: int, dtype, shape, place, flags, grad
) -> bool:
    changed = False
    if place is not None:
        raw = crossing.bytes_at(place)
        if raw != crossing.told.get(number, _raw(tensor)) or list(tensor.shape) != shape:
            changed = True
            new = _plain(crossing, dtype, shape, raw)
            with torch.no_grad():
                if tensor.shape == new.shape and tensor.dtype == new.dtype:
                    tensor.copy_(new)
                else:
                    tensor.data = new
        crossing.told[number] = raw
    if not tensor.is_leaf:
        return changed
    if tensor.requires_grad != bool(flags[0]):
        tensor.requires_grad_(bool(flags[0]))
        changed = True
    new = None if grad is None else crossing.back(grad)
    if new is not tensor.grad:
        tensor.grad = new
        changed = True
    return changed


# --- models


def _pack_module(crossing, module: nn.Module, number: int) -> list:
    settings = {name: crossing.out(getattr(module, name)) for name in LAYERS[type(module)]}
    if isinstance(module, _BIASED):
        settings["bias"] = module.bias is not None
    parts = [
        [[name, crossing.out(part)] for name, part in held.items()]
        for held in (module._parameters, module._buffers, module._modules)
    ]
    seen = [crossing.out(tuple(given)) for given in module.__dict__.get("_seen", ())]
    watched = bool(module._forward_pre_hooks) and "_seen" not in module.__dict__
    return [type(module).__name__, settings, module.training, parts, watched, seen]


def _settings(crossing, name: str, settings: dict) -> dict:
    known = {*LAYERS[_NAMES[name]], *(["bias"] if _NAMES[name] in _BIASED else [])}
    if settings.keys() != known:
        raise ValueError("these are not the settings of the layer")
    return {key: crossing.back(value) for key, value in settings.items()}


def _new_module(crossing, name: str, settings: dict, training, parts, watched, seen) -> nn.Module:
    with torch.device("meta"):  # nothing is drawn, and nothing is as large as it says
        module = _NAMES[name](**_settings(crossing, name, settings))
    if watched:  # the tests want to know what went in
        module._seen = []
        module.register_forward_pre_hook(lambda _, given: module._seen.append(given))
    return module


def _fill_module(
    crossing, module: nn.Module, number: int, name, settings, training, parts, watched, seen
) -> bool:
    if type(module).__name__ != name:
        raise ValueError("a layer came back as a different one")
    before = module.training, _held(module)
    for key, value in _settings(crossing, name, settings).items():
        if key != "bias" and getattr(module, key) != value:
            setattr(module, key, value)
            before = None
    module.training = bool(training)
    containers = isinstance(module, (nn.Sequential, nn.ModuleList))
    for held, new, kind in zip(
        (module._parameters, module._buffers, module._modules), parts,
        (nn.Parameter, torch.Tensor, nn.Module), strict=True,
    ):  # fmt: skip
        items = {str(key): crossing.back(value) for key, value in new}
        if not all(value is None or isinstance(value, kind) for value in items.values()):
            raise TypeError("a layer holds what no layer holds")
        if items.keys() != held.keys() and not (kind is nn.Module and containers):
            raise ValueError("a layer has other parts than it should")
        held.clear()
        held.update(items)
    for given in seen:  # now the hooks of the tests get what went in there
        for hook in list(module._forward_pre_hooks.values()):
            hook(module, crossing.back(given))
    return before != (module.training, _held(module))


def _held(module: nn.Module) -> list:
    return [
        (key, id(value))
        for held in (module._parameters, module._buffers, module._modules)
        for key, value in held.items()
    ]


# --- optimizers and generators


def _pack_optimizer(crossing, optimizer: torch.optim.Optimizer, number: int) -> list:
    groups = [[[key, crossing.out(value)] for key, value in group.items()]
              for group in optimizer.param_groups]  # fmt: skip
    state = [[crossing.out(p), crossing.out(kept)] for p, kept in optimizer.state.items()]
    return [type(optimizer).__name__, groups, state]


def _new_optimizer(crossing, name: str, groups: list, state: list) -> torch.optim.Optimizer:
    return OPTIMIZERS[name]([torch.zeros(1, requires_grad=True)])  # replaced when it is filled


def _fill_optimizer(crossing, optimizer, number: int, name, groups, state) -> bool:
    if type(optimizer).__name__ != name:
        raise ValueError("an optimizer came back as a different one")
    before = [{k: _by_id(v) for k, v in g.items()} for g in optimizer.param_groups]
    new = [{str(key): crossing.back(value) for key, value in group} for group in groups]
    for number_, group in enumerate(new):
        if not all(isinstance(p, torch.Tensor) for p in group["params"]):
            raise TypeError("an optimizer has other things than tensors")
        if number_ < len(optimizer.param_groups):
            optimizer.param_groups[number_].update(group)
        else:
            optimizer.param_groups.append(group)
    kept = {crossing.back(p): crossing.back(values) for p, values in state}
    old = optimizer.state
    changed = kept.keys() != old.keys() or any(kept[p] is not old[p] for p in kept)
    optimizer.state.clear()
    optimizer.state.update(kept)
    return changed or before != [
        {k: _by_id(v) for k, v in g.items()} for g in optimizer.param_groups
    ]


def _by_id(value: object) -> object:
    return [id(item) for item in value] if isinstance(value, list) else value


def _pack_generator(crossing, generator: torch.Generator, number: int) -> list:
    return [crossing.blob(generator.get_state().numpy().tobytes())]


def _fill_generator(crossing, generator: torch.Generator, number: int, place: list) -> bool:
    raw = bytearray(crossing.bytes_at(place))
    crossing.check_state(raw)
    changed = raw != generator.get_state().numpy().tobytes()
    generator.set_state(torch.frombuffer(raw, dtype=torch.uint8))
    return changed


TORCH = {
    "tensor": Handler(_is_tensor, _pack_tensor, _new_tensor, _fill_tensor),
    "module": Handler(lambda value: type(value) in LAYERS, _pack_module, _new_module,
                      _fill_module),
    "optimizer": Handler(lambda value: type(value) in OPTIMIZERS.values(), _pack_optimizer,
                         _new_optimizer, _fill_optimizer),
    "generator": Handler(lambda value: isinstance(value, torch.Generator), _pack_generator,
                         lambda crossing, place: torch.Generator(), _fill_generator),
}  # fmt: skip
