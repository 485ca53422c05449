# SPDX-License-Identifier: MIT
"""What a module's parameters and buffers hold: as arrays, from arrays, and in another dtype."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schuss._busy import claim
from schuss._options import as_flag, type_name
from schuss._schuss import Parameter, Tensor, from_numpy
from schuss.nn.attributes import Structure

if TYPE_CHECKING:
    from schuss._typing import Array, TensorLike
    from schuss.nn.module import Module

__all__ = ["IncompatibleKeys", "convert", "entries", "load", "to_array"]


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` did not find, and what it had no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def to_array(tensor: Tensor) -> Array:
    """An independent C-contiguous copy of the values."""
    return np.array(tensor.detach().numpy(), order="C", copy=True)


def entries(module: Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and persistent buffers of the whole tree under each of their names."""
    for path, owner in module.named_modules(remove_duplicate=False):
        held = {**owner._parameters, **owner._buffers}
        for name, tensor in held.items():
            if tensor is not None and name not in owner._non_persistent:
                yield f"{path}.{name}" if path else name, tensor


def load(
    module: Module, state_dict: Mapping[str, TensorLike], strict: bool = True
) -> IncompatibleKeys:
    """Do what `Module.load_state_dict` says."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"state_dict: got {type_name(state_dict)}; expected a mapping of names to arrays"
        )
    own = dict(entries(module))
    missing = [name for name in own if name not in state_dict]
    unexpected = [name for name in state_dict if name not in own]
    if as_flag(strict, "strict") and (missing or unexpected):
        raise ValueError(
            f"state_dict: missing keys {missing}, unexpected keys {unexpected}; expected "
            f"exactly {list(own)} (strict=False takes what fits)"
        )
    values = {
        name: _fitting(state_dict[name], name, tensor)
        for name, tensor in own.items()
        if name in state_dict
    }
    with claim([t for t in own.values() if isinstance(t, Parameter)], "load_state_dict"):
        for name, value in values.items():
            own[name].copy_(value)
    return IncompatibleKeys(missing, unexpected)


def _fitting(value: TensorLike, name: str, tensor: Tensor) -> Array:
    """`value` as an array of the tensor's shape and dtype, or an error."""
    array = np.asarray(value.detach() if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{name}: got dtype {array.dtype}; expected numbers that fit {tensor.dtype}"
        )
    if array.shape != tensor.shape:
        raise ValueError(f"{name}: got shape {array.shape}; expected {tensor.shape}")
    return _rounded(array, name, tensor.dtype)


def _rounded(array: Array, name: str, dtype: Any) -> Array:
    with np.errstate(over="ignore"):
        rounded = array.astype(dtype)
    if not np.array_equal(np.isfinite(array), np.isfinite(rounded)):
        raise ValueError(f"{name}: a finite value overflows {dtype}")
    return rounded


def convert(module: Module, dtype: str) -> None:
    """Put parameters and floating buffers of another dtype in the place of the module's.

    Storage keeps its dtype for life, so these are new objects; sharing inside the module stays.
    """
    from schuss.optim.optimizer import optimizer_of

    slots: list[tuple[dict[str, Any], str, Tensor]] = []
    made: dict[int, Tensor] = {}
    for path, owner in module.named_modules():
        places: tuple[dict[str, Any], ...] = (owner._parameters, owner._buffers)
        for held in places:
            for name, tensor in held.items():
                if tensor is None or tensor.dtype == dtype or tensor.dtype.kind != "f":
                    continue
                full = f"{path}.{name}" if path else name
                if id(tensor) not in made:
                    made[id(tensor)] = _converted(tensor, full, dtype, optimizer_of)
                slots.append((held, name, made[id(tensor)]))
    for held, name, twin in slots:
        held[name] = twin
    if slots:
        Structure.version += 1


def _converted(tensor: Tensor, name: str, dtype: str, optimizer_of: Any) -> Tensor:
    values = _rounded(to_array(tensor), name, dtype)
    if not isinstance(tensor, Parameter):
        return from_numpy(values)
    if optimizer_of(tensor) is not None:
        raise RuntimeError(
            f"dtype: {name} is {tensor.dtype} and an optimizer holds it; convert the model to "
            f"{dtype} first, then build the optimizer"
        )
    # As pickling does it: the state says how the memory of a layer's weight lies.
    _, weight, requires_grad, grad = tensor.__getstate__()
    new_grad = None if grad is None else _rounded(grad, f"{name}.grad", dtype)
    twin = Parameter.__new__(Parameter)
    twin.__setstate__((values, weight, requires_grad, new_grad))
    return twin
