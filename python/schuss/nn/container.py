# SPDX-License-Identifier: MIT
"""Modules one after the other."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from schuss._options import type_name
from schuss.nn.module import Module
from schuss.nn.native import LayerSpec, NativeModule

if TYPE_CHECKING:
    from typing_extensions import Self

    from schuss._schuss import Tensor
    from schuss._typing import TensorLike

__all__ = ["Sequential"]


class Sequential(NativeModule):
    """Modules called one after the other; those of this package run as one native network.

    Nothing is allocated or moved: layers keep their storage, may sit in several containers, and
    may appear more than once (their gradients add up).

    Parameters
    ----------
    *args : Module, or one OrderedDict of str to Module
        The modules in order; an OrderedDict names them.

    Raises
    ------
    TypeError
        Something is not a module.
    ValueError
        At the first call: the widths of two layers do not fit, with the names of both.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import nn
    >>> encoder = nn.Sequential(nn.Linear(8, 4), nn.Tanh())
    >>> model = nn.Sequential(encoder, nn.Linear(4, 2))
    >>> model(np.zeros((3, 8))).shape
    (3, 2)
    >>> list(model.state_dict())
    ['0.0.weight', '0.0.bias', '1.weight', '1.bias']
    >>> model[0][1]
    Tanh()
    """

    @overload
    def __init__(self, *args: Module) -> None: ...
    @overload
    def __init__(self, arg: OrderedDict[str, Module], /) -> None: ...
    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], dict):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            self.extend(args)

    def _layers(self, path: str) -> Iterator[LayerSpec]:
        for name, module in self._modules.items():
            if isinstance(module, NativeModule):  # always: a plan is made of nothing else
                yield from module._layers(f"{path}.{name}" if path else name)

    def _chain(self) -> Callable[[TensorLike], Tensor]:
        modules = list(self._modules.values())

        def chain(x: TensorLike) -> Tensor:
            for module in modules:
                x = module(x)
            return x  # type: ignore[no-any-return]

        return chain

    # ---- the list of modules ---------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(list(self._modules.values()))

    def __contains__(self, module: object) -> bool:
        return any(module is own for own in self._modules.values())

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    @overload
    def __getitem__(self, index: SupportsIndex) -> Module: ...
    def __getitem__(self, index: slice | SupportsIndex) -> Module:
        if isinstance(index, slice):
            return Sequential(OrderedDict(list(self._modules.items())[index]))
        return self._modules[self._name_at(index)]

    def __setitem__(self, index: SupportsIndex, module: Module) -> None:
        setattr(self, self._name_at(index), _checked(module))

    def __delitem__(self, index: slice | SupportsIndex) -> None:
        one = None if isinstance(index, slice) else self._name_at(index)
        doomed = list(self._modules)[index] if isinstance(index, slice) else [one]
        kept = [(name, m) for name, m in self._modules.items() if name not in doomed]
        self._replace(kept)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end, in order."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: SupportsIndex, module: Module) -> Self:
        """Put a module before position `index`; numbered names move up."""
        position = operator.index(index)
        if not -len(self) <= position <= len(self):
            raise IndexError(f"index: got {position}; expected {-len(self)} to {len(self)}")
        items = list(self._modules.items())
        items.insert(position, (str(len(self)), _checked(module)))
        self._replace(items)
        return self

    def pop(self, index: SupportsIndex) -> Module:
        """Take the module at position `index` out, and return it."""
        module = self._modules[self._name_at(index)]
        del self[index]
        return module

    def _name_at(self, index: SupportsIndex) -> str:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"index: got {position}; there are {len(self)} modules")
        return list(self._modules)[position]

    def _replace(self, items: list[tuple[str, Module]]) -> None:
        """Hold exactly these modules; names that are numbers become their positions."""
        self._modules.clear()
        for position, (name, module) in enumerate(items):
            self.add_module(str(position) if name.isdigit() else name, module)
        self._structure_changed()


def _checked(module: Any) -> Module:
    if isinstance(module, Module):
        return module
    unpack = " (write nn.Sequential(*layers))" if isinstance(module, (list, tuple)) else ""
    raise TypeError(f"Sequential: got {type_name(module)}; expected a module{unpack}")
