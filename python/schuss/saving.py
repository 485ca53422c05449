# SPDX-License-Identifier: MIT
"""Models in files: safetensors with the architecture as JSON. Loading never executes code."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from schuss import _schuss, nn, optim
from schuss._options import as_flag, known_options, type_name
from schuss.nn.module import Module

if TYPE_CHECKING:
    from schuss._typing import Array
    from schuss.optim import Optimizer

__all__ = ["load", "save"]

_FORMAT = 1
_KEY = "schuss"  # of the metadata
_STATE_PREFIX = "optimizer."

# All that a file can ask for. Names are looked up here, never imported.
_LAYERS: dict[str, type[Module]] = {
    layer.__name__: layer
    for layer in (
        nn.ELU,
        nn.GELU,
        nn.Identity,
        nn.LeakyReLU,
        nn.Linear,
        nn.LogSoftmax,
        nn.ReLU,
        nn.SiLU,
        nn.Sigmoid,
        nn.Softmax,
        nn.Softplus,
        nn.Step,
        nn.Tanh,
    )
}
_OPTIMIZERS: dict[str, type[optim.Optimizer]] = {
    kind.__name__: kind for kind in (optim.SGD, optim.Adam, optim.AdamW)
}


@known_options
def save(
    model: Module | Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    optimizer: Optimizer | None = None,
) -> None:
    """Write a model, and with it an optimizer's state, to a safetensors file.

    Parameters are stored under PyTorch's keys. The metadata hold the architecture, the format and
    the arithmetic version. The file appears under its name when it is complete.

    Parameters
    ----------
    model : nn.Module, or mapping of str to tensor or array
        Made of this package's layers. A model with modules of your own is code that a file cannot
        hold: save its `state_dict`, and load it into a new one.
    path : str or path
        Customarily ending in ``.safetensors``.
    optimizer : optim.Optimizer, optional
        Of parameters of this model: saved so that training goes on where it stopped.

    Raises
    ------
    TypeError
        A module in the model is not one of this package's (save its `state_dict` in its place).
    ValueError
        An optimizer's parameter is foreign to the model.

    Examples
    --------
    >>> import tempfile
    >>> import schuss
    >>> from schuss import nn
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     schuss.save(model, f"{folder}/model.safetensors")
    ...     copy = schuss.load(f"{folder}/model.safetensors")
    ...     schuss.save(model.state_dict(), f"{folder}/state.safetensors")
    ...     keys = model.load_state_dict(schuss.load(f"{folder}/state.safetensors"))
    >>> bool((copy[0].weight.numpy() == model[0].weight.numpy()).all())
    True
    """
    from safetensors.numpy import save as serialize

    if isinstance(model, Mapping):
        if optimizer is not None:
            raise TypeError("optimizer: a state_dict has no parameters for it; save the model")
        state = {name: _state_array(name, value) for name, value in model.items()}
        _write(path, serialize(state, metadata={_KEY: json.dumps(_stamp(state=True))}))
        return
    if not isinstance(model, Module):
        raise TypeError(
            f"model: got {type_name(model)}; expected a schuss.nn.Module or its state_dict()"
        )
    names = {id(p): name for name, p in model.named_parameters()}
    tensors = {name: nn.module.to_array(p) for name, p in model.named_parameters()}
    header: dict[str, Any] = {
        **_stamp(),
        "model": _describe(model, "", {}),
        "shared": {
            name: names[id(p)]
            for name, p in model.named_parameters(remove_duplicate=False)
            if names[id(p)] != name
        },
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
    }
    if optimizer is not None:
        header["optimizer"] = _describe_optimizer(optimizer, names, tensors)
    _write(path, serialize(tensors, metadata={_KEY: json.dumps(header)}))


def _stamp(**more: Any) -> dict[str, Any]:
    """What every file says of itself."""
    return {
        "format": _FORMAT,
        "arithmetic": _schuss.arithmetic_version,
        "version": _schuss.__version__,
        **more,
    }


def _state_array(name: Any, value: Any) -> Array:
    if not isinstance(name, str):
        raise TypeError(f"model: got the key {name!r}; expected strings")
    array = np.array(value.detach() if isinstance(value, _schuss.Tensor) else value, order="C")
    if array.dtype.kind not in "fiub" or array.dtype == np.longdouble:
        raise TypeError(f"{name}: got dtype {array.dtype}; expected real numbers")
    return array


def _write(path: str | os.PathLike[str], content: bytes) -> None:
    # Beside the target, so that replacing it is one atomic step.
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@overload
def load(
    path: str | os.PathLike[str], *, optimizer: Literal[False] = False, weights_only: bool = True
) -> Any: ...
@overload
def load(
    path: str | os.PathLike[str], *, optimizer: Literal[True], weights_only: bool = True
) -> tuple[Any, Any]: ...
@known_options
def load(
    path: str | os.PathLike[str], *, optimizer: bool = False, weights_only: bool = True
) -> Any:
    """Read a model, or a state, that `save` wrote.

    Parameters
    ----------
    path : str or path
    optimizer : bool, default False
        Give the pair ``(model, optimizer)``.
    weights_only : bool, default True
        PyTorch's; without effect, as no file of `save` holds code.

    Returns
    -------
    nn.Module, (nn.Module, optim.Optimizer), or dict of str to ndarray

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is no file of `save`, was written by a later format, is damaged, or holds no optimizer.

    Warns
    -----
    UserWarning
        The file was written under another arithmetic version: results may differ in their last
        bits.
    """
    from safetensors import SafetensorError, safe_open

    wanted = as_flag(optimizer, "optimizer")
    as_flag(weights_only, "weights_only")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None
    header = _parsed_header(metadata, path)
    if header.get("state") is True and not wanted:
        return tensors
    try:
        model = _built(header["model"], "", tensors, {})
        for name, first in header["shared"].items():
            _share(model, name, first)
        model.load_state_dict(
            {
                name: tensors[header["shared"].get(name, name)]
                for name, _ in model.named_parameters(remove_duplicate=False)
            }
        )
        by_name = dict(model.named_parameters())
        for name in header["frozen"]:
            by_name[name].requires_grad = False
        if not wanted:
            return model
        if header.get("optimizer") is None:
            raise ValueError(f"{path}: holds no optimizer; save it with save(..., optimizer=...)")
        return model, _built_optimizer(header["optimizer"], by_name, tensors)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged, or not written by schuss.save ({error!r})") from None


def _parsed_header(metadata: dict[str, str], path: object) -> dict[str, Any]:
    if _KEY not in metadata:
        raise ValueError(
            f"{path}: has no architecture in it; build the model and use load_state_dict() with "
            "safetensors.numpy.load_file()"
        )
    header: dict[str, Any] = {}
    with contextlib.suppress(ValueError, TypeError):
        header = dict(json.loads(metadata[_KEY]))
    version = header.get("format")
    known = isinstance(version, int) and version >= 1
    if not known:
        raise ValueError(f"{path}: damaged, or not written by schuss.save")
    if version != _FORMAT:
        raise ValueError(
            f"{path}: format {version} is not {_FORMAT}, the one that this version of "
            "schuss reads; update schuss"
        )
    if header.get("arithmetic") != _schuss.arithmetic_version:
        warnings.warn(
            f"{path}: written under arithmetic version {header.get('arithmetic')}; this is "
            f"{_schuss.arithmetic_version}, and results may differ in their last bits",
            UserWarning,
            stacklevel=4,
        )
    return header


# ---- the architecture ----------------------------------------------------------------------------


def _describe(module: Module, path: str, seen: dict[int, str]) -> dict[str, Any]:
    if id(module) in seen:
        return {"same": seen[id(module)]}
    seen[id(module)] = path
    if type(module) is nn.Sequential:
        children = [
            [name, _describe(child, f"{path}.{name}" if path else name, seen)]
            for name, child in module._modules.items()
        ]
        return {"type": "Sequential", "children": children}
    name = type(module).__name__
    if _LAYERS.get(name) is not type(module):
        raise TypeError(
            f"save: {path or 'the model'} is a {name}, which a file cannot describe; save "
            "model.state_dict() in its place, and build the model in code"
        )
    config = module._config()
    return {"type": name, "options": config}


def _built(
    description: dict[str, Any], path: str, tensors: dict[str, Array], seen: dict[str, Module]
) -> Module:
    if "same" in description:
        return seen[description["same"]]
    kind = description["type"]
    module: Module
    if kind == "Sequential":
        children = OrderedDict(
            (name, _built(child, f"{path}.{name}" if path else name, tensors, seen))
            for name, child in description["children"]
        )
        module = nn.Sequential(children)
    elif kind not in _LAYERS:
        raise ValueError(f"{path}: unknown layer {kind!r}; update schuss")
    else:
        module = _LAYERS[kind](**description["options"])
    seen[path] = module
    return module


def _share(model: Module, name: str, first: str) -> None:
    """Make two names one parameter again, where modules are not one already."""
    path, _, attribute = name.rpartition(".")
    source_path, _, source = first.rpartition(".")
    owner, other = model.get_submodule(path), model.get_submodule(source_path)
    if owner is not other:
        setattr(owner, attribute, getattr(other, source))


# ---- the optimizer -------------------------------------------------------------------------------


def _describe_optimizer(
    optimizer: Optimizer, names: dict[int, str], tensors: dict[str, Array]
) -> dict[str, Any]:
    kind = type(optimizer).__name__
    if _OPTIMIZERS.get(kind) is not type(optimizer):
        raise TypeError(f"optimizer: got {kind}; expected one of {', '.join(_OPTIMIZERS)}")
    parameters = optimizer._parameters()
    foreign = [p.shape for p in parameters if id(p) not in names]
    if foreign:
        raise ValueError(f"optimizer: parameters of shapes {foreign} are not the model's")
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group["params"] = [names[id(parameters[number])] for number in group["params"]]
    steps = {}
    for number, values in state["state"].items():
        name = names[id(parameters[number])]
        steps[name] = values["step"]
        for key, value in values.items():
            if isinstance(value, np.ndarray):
                tensors[f"{_STATE_PREFIX}{key}.{name}"] = value
    groups, progress = state["param_groups"], state["progress"]
    # JSON has no integers of 64 bits for every reader.
    progress["seed"] = None if progress["seed"] is None else str(progress["seed"])
    return {"type": kind, "groups": groups, "steps": steps, "progress": progress}


def _built_optimizer(
    description: dict[str, Any], by_name: dict[str, Any], tensors: dict[str, Array]
) -> Optimizer:
    kind = description["type"]
    if kind not in _OPTIMIZERS:
        raise ValueError(f"unknown optimizer {kind!r}; update schuss")
    groups = [
        {**group, "params": [by_name[name] for name in group["params"]]}
        for group in description["groups"]
    ]
    optimizer = _OPTIMIZERS[kind](groups)  # type: ignore[call-arg]
    names = [name for group in description["groups"] for name in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for number, name in enumerate(names):
        if name in description["steps"]:
            state[number] = {"step": description["steps"][name]}
            for key in ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
                if f"{_STATE_PREFIX}{key}.{name}" in tensors:
                    state[number][key] = tensors[f"{_STATE_PREFIX}{key}.{name}"]
    progress = dict(description["progress"])
    progress["seed"] = None if progress["seed"] is None else int(progress["seed"])
    fresh = optimizer.state_dict()
    optimizer.load_state_dict({**fresh, "state": state, "progress": progress})
    return optimizer
