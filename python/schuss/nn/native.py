# SPDX-License-Identifier: MIT
"""Modules whose call is one native network, and the plans behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from schuss._options import type_name
from schuss._schuss import Network, Parameter, Tensor
from schuss.nn.module import Module, Structure

if TYPE_CHECKING:
    from schuss._typing import TensorLike

__all__ = ["FollowsDtype", "LayerSpec", "NativeModule", "layer_label", "network_of"]

# A layer as the native network takes it.
LayerSpec: TypeAlias = tuple[Any, ...]


class FollowsDtype:
    """A network without parameters: float64 for float64 arrays and tensors, else float32."""

    def __init__(self, layers: list[LayerSpec]) -> None:
        self._float32 = Network(layers)
        self._float64 = Network(layers, "float64")

    def network(self, x: TensorLike) -> Network:
        """The network for that input."""
        return self._float64 if getattr(x, "dtype", None) == np.float64 else self._float32

    def __call__(self, x: TensorLike) -> Tensor:
        """Compute the output of a batch `x`."""
        return self.network(x)(x)


class NativeModule(Module):
    """A module whose call is one native network over all the layers inside it."""

    _plan: Any  # Network, FollowsDtype, or a chain of calls where a child is not native
    _plan_version: int
    _plan_key: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            raise TypeError(f"{type(self).__name__}: takes no arguments")
        super().__init__()
        self.__dict__.update(_plan=None, _plan_version=-1, _plan_key=None)

    def __call__(self, x: TensorLike) -> Tensor:
        """Compute the output of a batch `x` of shape (n, in_features)."""
        if self._plan_version != Structure.version:
            self._refresh_plan()
        return self._plan(x)  # type: ignore[no-any-return]

    def forward(self, x: TensorLike) -> Tensor:
        """Compute the output of a batch `x` of shape (n, in_features)."""
        return NativeModule.__call__(self, x)

    _native = True

    def _layers(self, path: str) -> Iterator[LayerSpec]:
        """The layers that the native network consists of; `path` is for messages."""
        raise NotImplementedError

    def _refresh_plan(self) -> None:
        if all(module._native for module in self.modules()):
            layers = list(self._layers(""))
            # A change somewhere else leaves the plan as it is, and with it its memory.
            key = [value for layer in layers for value in layer]
            if not _same_key(key, self._plan_key):
                has_parameters = any(isinstance(value, Parameter) for value in key)
                self._plan = Network(layers) if has_parameters else FollowsDtype(layers)
                self._plan_key = key
        else:
            self._plan = self._chain()
            self._plan_key = None
        self._plan_version = Structure.version

    def _chain(self) -> Callable[[TensorLike], Tensor]:
        raise TypeError(f"{type_name(self)} cannot hold modules that define forward() themselves")

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the plan, which the copy makes anew."""
        return {**self.__dict__, "_plan": None, "_plan_version": -1, "_plan_key": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _same_key(one: list[Any], other: list[Any] | None) -> bool:
    """Whether two plans have the same parameters (the very objects) and options."""
    return (
        other is not None
        and len(one) == len(other)
        and all(
            a is b or not (isinstance(a, Parameter) or isinstance(b, Parameter) or a != b)
            for a, b in zip(one, other, strict=True)
        )
    )


def network_of(model: Module, x: TensorLike) -> Network | None:
    """The native network of a model for data like `x`; None where it calls a ``forward()``."""
    if not isinstance(model, NativeModule) or not model._native:
        return None
    if model._plan_version != Structure.version:
        model._refresh_plan()
    plan = model._plan
    if isinstance(plan, FollowsDtype):
        return plan.network(x)
    return plan if isinstance(plan, Network) else None


def layer_label(path: str, text: str) -> str:
    """``layer 0 (Linear(784, 128))``; a layer of its own has no path."""
    return f"layer {path} ({text})" if path else text
