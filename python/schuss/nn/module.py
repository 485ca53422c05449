# SPDX-License-Identifier: MIT
"""The base of everything with parameters, and of everything a native network is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from schuss._busy import claim
from schuss._options import as_flag, check_device, type_name
from schuss._schuss import Parameter, Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

    from schuss._typing import Array, DTypeLike, TensorLike

__all__ = ["IncompatibleKeys", "Module", "Structure", "to_array"]


class Structure:
    """Counts changes of any module's structure.

    A call can tell at once that its plan is still right: one comparison of integers.
    """

    version = 0


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` did not find, and what it had no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of layers, losses and models.

    Parameters and modules assigned as attributes are found by `parameters`, `state_dict` and so
    on. A subclass of one's own defines ``forward``; layers inside it keep their history, so that
    ``backward()`` on the result reaches them all.

    Attributes
    ----------
    training : bool
        Set by `train` and `eval`.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import nn
    >>> class Residual(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.inner = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    ...     def forward(self, x):
    ...         return self.inner(x)
    >>> model = Residual()
    >>> [name for name, _ in model.named_parameters()]
    ['inner.0.weight', 'inner.0.bias', 'inner.2.weight', 'inner.2.bias']
    >>> model(np.ones((5, 3))).shape
    (5, 1)
    """

    # Whether instances can be a part of a native network. True for the layers of this package; a
    # subclass that brings its own forward() is called step by step instead.
    _native: ClassVar[bool] = False

    training: bool
    _parameters: dict[str, Parameter | None]
    _modules: dict[str, Module]

    def __init__(self) -> None:
        self.__dict__.update(training=True, _parameters={}, _modules={})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in cls.__dict__:
            cls._native = cls.__dict__.get("_native", False)
            if "__call__" not in cls.__dict__:
                cls.__call__ = Module.__call__  # type: ignore[method-assign]

    # ---- attributes ------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if "_modules" not in own:
            raise AttributeError(
                f"{type_name(self)}.{name}: assigned before super().__init__(); call it first in "
                "__init__"
            )
        if isinstance(value, Parameter):
            self._forget(name)
            own["_parameters"][name] = value
        elif isinstance(value, Module):
            if any(module is self for module in value.modules()):
                raise ValueError(f"{name}: a module cannot contain itself")
            modules = own["_modules"]
            if name not in modules:
                self._forget(name)
            modules[name] = value
        elif value is None and name in own["_parameters"]:
            own["_parameters"][name] = None
        elif name == "training":
            own[name] = value
            return
        else:
            own["_modules"].pop(name, None)
            own["_parameters"].pop(name, None)
            object.__setattr__(self, name, value)
        if not name.startswith("_"):
            Structure.version += 1

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for place in ("_parameters", "_modules"):
            if place in own and name in own[place]:
                return own[place][name]
        raise AttributeError(f"{type_name(self)} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if name not in self._parameters and name not in self._modules:
            object.__delattr__(self, name)
        self._forget(name)
        Structure.version += 1

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._modules})

    def _structure_changed(self) -> None:
        Structure.version += 1

    def _forget(self, name: str) -> None:
        own = self.__dict__
        own["_parameters"].pop(name, None)
        own["_modules"].pop(name, None)
        own.pop(name, None)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None keeps the place free."""
        self._check_new_name(name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"{name}: got {type_name(param)}; expected a schuss.Parameter or None")
        self._parameters[name] = param
        Structure.version += 1

    def add_module(self, name: str, module: Module) -> None:
        """Add a child module under `name`."""
        self._check_new_name(name)
        if not isinstance(module, Module):
            raise TypeError(f"{name}: got {type_name(module)}; expected a module")
        setattr(self, name, module)

    def register_module(self, name: str, module: Module) -> None:
        """Add a child module under `name`; the same as `add_module`."""
        self.add_module(name, module)

    def _check_new_name(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name: got {type_name(name)}; expected a string")
        if not name or "." in name:
            raise ValueError(f"name: got {name!r}; expected a name without dots, not empty")
        taken = name not in self._modules and name not in self._parameters and hasattr(self, name)
        if taken:
            raise KeyError(f"attribute {name!r} exists already")

    # ---- calling ---------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output, by ``forward``."""
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; a subclass defines it."""
        raise NotImplementedError(f"{type_name(self)} does not define forward()")

    # ---- walking ---------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Names and modules one level down, each module once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """Modules one level down, each once."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Names and modules of the whole tree, this one first (its name is `prefix`)."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            inner = f"{prefix}.{name}" if prefix else name
            yield from module.named_modules(memo, inner, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Modules of the whole tree, this one first, each once."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Names and parameters in order; a shared parameter comes once, under its first name.

        Parameters
        ----------
        prefix : str
            Put before each name, with a dot.
        recurse : bool, default True
            Go into child modules.
        remove_duplicate : bool, default True
            False gives a shared parameter under each of its names.
        """
        seen: set[int] = set()
        walk = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in walk:
            for name, parameter in module._parameters.items():
                if parameter is None or (remove_duplicate and id(parameter) in seen):
                    continue
                seen.add(id(parameter))
                yield f"{path}.{name}" if path else name, parameter

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters in order, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path such as ``"encoder.0"``; ``""`` is this one."""
        module = self
        for name in target.split(".") if target else []:
            if name not in module._modules:
                raise AttributeError(f"{target}: {type_name(module)} has no module {name!r}")
            module = module._modules[name]
        return module

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn(module)`` on every module, children first (say, to initialise)."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # ---- modes -----------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set training mode (or, with False, evaluation mode) here and in every child."""
        mode = as_flag(mode, "mode")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and in every child."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say for every parameter whether it is trained."""
        flag = as_flag(requires_grad, "requires_grad")
        for parameter in self.parameters():
            parameter.requires_grad = flag
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop every parameter's gradient, or with ``set_to_none=False`` fill it with zeros."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = np.zeros(parameter.shape, parameter.dtype)

    def to(self, device: str | None = None, dtype: DTypeLike = None) -> Self:
        """Return the module itself: it is on the CPU, and storage keeps its dtype for life.

        Raises
        ------
        ValueError
            `device` is another than the CPU.
        TypeError
            `dtype` is not the one that the parameters have.
        """
        check_device(device)
        if dtype is not None:
            for name, parameter in self.named_parameters():
                if parameter.dtype != np.dtype(dtype):
                    raise TypeError(
                        f"dtype: {name} is {parameter.dtype} and keeps its storage for life; build "
                        f"the model with dtype={np.dtype(dtype).name} and load_state_dict() into it"
                    )
        return self

    def cpu(self) -> Self:
        """Return the module itself: it is on the CPU."""
        return self

    # ---- state -----------------------------------------------------------------------------------

    def state_dict(self, *, prefix: str = "") -> dict[str, Array]:
        """Copies of all parameters under PyTorch's keys.

        Returns
        -------
        dict of str to ndarray
            Independent C-contiguous arrays; weights are ``(out_features, in_features)``. A shared
            parameter appears under each of its names.

        Examples
        --------
        >>> from schuss import nn
        >>> state = nn.Sequential(nn.Linear(4, 2), nn.ReLU()).state_dict()
        >>> {name: array.shape for name, array in state.items()}
        {'0.weight': (2, 4), '0.bias': (2,)}
        """
        named = self.named_parameters(remove_duplicate=False)
        return {prefix + name: to_array(parameter) for name, parameter in named}

    def load_state_dict(
        self, state_dict: Mapping[str, TensorLike], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy values into the parameters, in place; everything is checked before any changes.

        Parameters
        ----------
        state_dict : mapping of str to array-like
            As `state_dict` gives it; also one of PyTorch's.
        strict : bool, default True
            The keys have to be exactly the ones of `state_dict`.

        Returns
        -------
        IncompatibleKeys
            ``missing_keys`` and ``unexpected_keys``; both empty when `strict`.

        Raises
        ------
        TypeError
            `state_dict` is not a mapping, or a value is not an array of numbers.
        ValueError
            Keys differ (when `strict`), a shape differs, or a finite value overflows the dtype.
        RuntimeError
            Another thread is training the model.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"state_dict: got {type_name(state_dict)}; expected a mapping of names to arrays"
            )
        own = dict(self.named_parameters(remove_duplicate=False))
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        if as_flag(strict, "strict") and (missing or unexpected):
            raise ValueError(
                f"state_dict: missing keys {missing}, unexpected keys {unexpected}; expected "
                f"exactly {list(own)} (strict=False takes what fits)"
            )
        values = {
            name: _fitting(state_dict[name], name, parameter)
            for name, parameter in own.items()
            if name in state_dict
        }
        with claim(own.values(), "load_state_dict"):
            for name, value in values.items():
                own[name].copy_(value)
        return IncompatibleKeys(missing, unexpected)

    # ---- printing --------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of a module without children."""
        return ""

    def __repr__(self) -> str:
        if not self._modules:
            return f"{type_name(self)}({self.extra_repr()})"
        lines = [f"{type_name(self)}("]
        for name, module in self._modules.items():
            inner = repr(module).replace("\n", "\n  ")
            lines.append(f"  ({name}): {inner}")
        return "\n".join([*lines, ")"])


def to_array(parameter: Parameter) -> Array:
    """An independent C-contiguous copy of the values."""
    return np.array(parameter.numpy(), order="C", copy=True)


def _fitting(value: TensorLike, name: str, parameter: Parameter) -> Array:
    """`value` as an array of the parameter's shape and dtype, or an error."""
    array = np.asarray(value.detach() if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{name}: got dtype {array.dtype}; expected numbers that fit {parameter.dtype}"
        )
    if array.shape != parameter.shape:
        raise ValueError(f"{name}: got shape {array.shape}; expected {parameter.shape}")
    with np.errstate(over="ignore"):
        fitting = array.astype(parameter.dtype)
    if not np.array_equal(np.isfinite(array), np.isfinite(fitting)):
        raise ValueError(f"{name}: a finite value overflows {parameter.dtype}")
    return fitting
