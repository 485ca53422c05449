# SPDX-License-Identifier: MIT
"""The parameters, buffers and modules that a module holds under the names of its attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from schuss._options import as_flag, type_name
from schuss._schuss import Parameter, Tensor

if TYPE_CHECKING:
    from schuss.nn.module import Module

__all__ = ["Attributes", "Structure"]

_PLACES = ("_parameters", "_buffers", "_modules")


class Structure:
    """Counts changes of any module's structure.

    A call can tell at once that its plan is still right: one comparison of integers.
    """

    version = 0


class Attributes:
    """Keeps what is assigned: parameters, buffers and modules apart from everything else."""

    # Whether instances can be a part of a native network. True for the layers of this package; a
    # subclass that brings its own forward() is called step by step instead.
    _native: ClassVar[bool] = False

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module]
    _non_persistent: set[str]

    def __init__(self) -> None:
        self.__dict__.update(
            training=True, _parameters={}, _buffers={}, _modules={}, _non_persistent=set()
        )

    def modules(self) -> Any:
        """Modules of the whole tree."""
        raise NotImplementedError

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, Parameter):
            self._started("a parameter", name)
            self._forget(name)
            own["_parameters"][name] = value
        elif isinstance(value, Attributes):
            self._started("a module", name)
            if any(module is self for module in value.modules()):
                raise ValueError(f"{name}: a module cannot contain itself")
            modules = own["_modules"]
            if name not in modules:
                self._forget(name)
            modules[name] = value
        elif name in own.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"{type_name(self)}.{name}: got {type_name(value)}; expected a schuss.Parameter"
                    f" or None (new values for the one there: module.{name}.data = values)"
                )
            own["_parameters"][name] = None
        elif name in own.get("_buffers", ()):
            self._check_buffer(name, value)
            own["_buffers"][name] = value
            return
        elif name in own.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"{type_name(self)}.{name}: got {type_name(value)}; expected a module or None"
                )
            self._forget(name)
            own[name] = None
        else:
            object.__setattr__(self, name, value)
            # An attribute of a native layer may be an option of its kernel.
            if not self._native or name == "training":
                return
        if not name.startswith("_"):
            Structure.version += 1

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for place in _PLACES:
            if place in own and name in own[place]:
                return own[place][name]
        kind = type_name(self)
        if name in _PLACES:
            raise AttributeError(
                f"{kind} was not initialised: call super().__init__() first in {kind}.__init__"
            )
        if name.startswith("register_") and name.endswith("hook"):
            raise AttributeError(
                f"{kind} has no {name}(): there are no hooks; call what is needed in forward()"
            )
        raise AttributeError(f"{kind} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if not any(name in self.__dict__[place] for place in _PLACES):
            object.__delattr__(self, name)
        self._forget(name)
        Structure.version += 1

    def __dir__(self) -> list[str]:
        own = (name for place in _PLACES for name in self.__dict__.get(place, ()))
        return sorted({*super().__dir__(), *own})

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What was pickled before there were buffers has none.
        self.__dict__.update({"_buffers": {}, "_non_persistent": set(), **state})

    def _structure_changed(self) -> None:
        Structure.version += 1

    def _started(self, what: str, name: str) -> None:
        if "_modules" not in self.__dict__:
            kind = type_name(self)
            raise AttributeError(
                f"{kind}.{name}: cannot assign {what} before Module.__init__() was called; call "
                f"super().__init__() first in {kind}.__init__"
            )

    def _forget(self, name: str) -> None:
        own = self.__dict__
        for place in _PLACES:
            own[place].pop(name, None)
        own["_non_persistent"].discard(name)
        own.pop(name, None)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None keeps the place free."""
        self._check_new_name(name, "_parameters")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"{name}: got {type_name(param)}; expected a schuss.Parameter or None")
        self._parameters[name] = param
        Structure.version += 1

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the module's state and is not trained.

        Parameters
        ----------
        name : str
            Of the attribute.
        tensor : Tensor or None
            None keeps the place free.
        persistent : bool, default True
            Whether it is a part of `Module.state_dict`.
        """
        self._check_new_name(name, "_buffers")
        self._check_buffer(name, tensor)
        kept = as_flag(persistent, "persistent")
        self._buffers[name] = tensor
        if kept:
            self._non_persistent.discard(name)
        else:
            self._non_persistent.add(name)

    def add_module(self, name: str, module: Module) -> None:
        """Add a child module under `name`."""
        self._check_new_name(name, "_modules")
        if not isinstance(module, Attributes):
            raise TypeError(f"{name}: got {type_name(module)}; expected a module")
        setattr(self, name, module)

    def register_module(self, name: str, module: Module) -> None:
        """Add a child module under `name`; the same as `add_module`."""
        self.add_module(name, module)

    def _check_buffer(self, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{name}: got {type_name(value)}; expected a schuss.Tensor or None")

    def _check_new_name(self, name: str, place: str) -> None:
        self._started("an attribute", str(name))
        if not isinstance(name, str):
            raise TypeError(f"name: got {type_name(name)}; expected a string")
        if not name or "." in name:
            raise ValueError(f"name: got {name!r}; expected a name without dots, not empty")
        if name not in self.__dict__[place] and hasattr(self, name):
            raise KeyError(f"attribute {name!r} exists already")
