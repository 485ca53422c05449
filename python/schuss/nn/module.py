# SPDX-License-Identifier: MIT
"""The base of everything with parameters, and of everything a native network is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from schuss._options import as_dtype, as_flag, check_device, type_name
from schuss.nn import state
from schuss.nn.attributes import Attributes, Structure
from schuss.nn.state import IncompatibleKeys, to_array

if TYPE_CHECKING:
    from typing_extensions import Self

    from schuss._schuss import Parameter, Tensor
    from schuss._typing import Array, TensorLike

__all__ = ["IncompatibleKeys", "Module", "Structure", "to_array"]


class Module(Attributes):
    """Base of layers, losses and models.

    Parameters and modules assigned as attributes are found by `parameters`, `state_dict` and so
    on; so are buffers (`register_buffer`). A subclass of one's own defines ``forward``; layers
    inside it keep their history, so that ``backward()`` on the result reaches them all.

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in cls.__dict__ or "__call__" in cls.__dict__:
            cls._native = cls.__dict__.get("_native", False)
            if "__call__" not in cls.__dict__:
                cls.__call__ = Module.__call__  # type: ignore[method-assign]

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
        # The order of named_modules, without its names: every fit asks.
        found: dict[int, Module] = {}
        waiting: list[Module] = [self]
        while waiting:
            module = waiting.pop()
            if id(module) not in found:
                found[id(module)] = module
                if module._modules:
                    waiting.extend(reversed(module._modules.values()))
        return iter(list(found.values()))

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
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters in order, each once."""
        found: dict[int, Parameter] = {}
        for module in self.modules() if recurse else (self,):
            for parameter in module._parameters.values():
                if parameter is not None:
                    found[id(parameter)] = parameter
        return iter(list(found.values()))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Names and buffers in order; the arguments are those of `named_parameters`."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers in order, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _named(
        self, place: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        walk = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in walk:
            for name, tensor in getattr(module, place).items():
                if tensor is None or (remove_duplicate and id(tensor) in seen):
                    continue
                seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path such as ``"encoder.0.weight"``."""
        return self._get("_parameters", "parameter", target)  # type: ignore[no-any-return]

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path such as ``"scaler.mean"``."""
        return self._get("_buffers", "buffer", target)  # type: ignore[no-any-return]

    def _get(self, place: str, what: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        held = getattr(owner, place)
        if name not in held:
            raise AttributeError(f"{target}: {type_name(owner)} has no {what} {name!r}")
        return held[name]

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

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Convert the parameters and the floating buffers to a dtype; the device is the CPU.

        Storage keeps its dtype for life, so a conversion puts new parameters in the place of the
        old ones: build the optimizer afterwards.

        Parameters
        ----------
        *args : "cpu", schuss.float32 or schuss.float64
            A device, a dtype, or both in this order.
        **kwargs
            The same as ``device=`` and ``dtype=``.

        Returns
        -------
        Module
            This one.

        Raises
        ------
        ValueError
            The device is another than the CPU, or a finite value overflows the dtype.
        TypeError
            The dtype is another one.
        RuntimeError
            An optimizer holds a parameter that would have to be replaced.

        Examples
        --------
        >>> import schuss
        >>> schuss.nn.Linear(2, 1).to(schuss.float64).weight.dtype.name
        'float64'
        """
        device, dtype = _device_and_dtype(args, kwargs)
        check_device(device)
        if dtype is not None:
            state.convert(self, as_dtype(dtype))
        return self

    def float(self) -> Self:
        """Convert to float32; see `to`."""
        return self.to(dtype="float32")

    def double(self) -> Self:
        """Convert to float64; see `to`."""
        return self.to(dtype="float64")

    def cpu(self) -> Self:
        """Return the module itself: it is on the CPU."""
        return self

    # ---- state -----------------------------------------------------------------------------------

    def state_dict(self, *, prefix: str = "") -> dict[str, Array]:
        """Copies of all parameters and persistent buffers under PyTorch's keys.

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
        return {prefix + name: state.to_array(tensor) for name, tensor in state.entries(self)}

    def load_state_dict(
        self, state_dict: Mapping[str, TensorLike], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy values in place; everything is checked before anything changes.

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
        return state.load(self, state_dict, strict)

    # ---- printing --------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of a module without children."""
        return ""

    def __repr__(self) -> str:
        name = type(self).__name__
        lines = self.extra_repr().split("\n") if self.extra_repr() else []
        children = [f"({key}): {text}" for key, text in self._child_lines()]
        if not children and len(lines) <= 1:
            return f"{name}({''.join(lines)})"
        lines += children
        body = [line.replace("\n", "\n  ") for line in lines]
        return "\n  ".join([f"{name}(", *body]) + "\n)"

    def _child_lines(self) -> list[tuple[str, str]]:
        return [(name, repr(module)) for name, module in self._modules.items()]


def _device_and_dtype(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """What `Module.to` was asked for."""
    unknown = set(kwargs) - {"device", "dtype", "non_blocking", "copy"}
    if unknown or len(args) > 2:
        got = f"unknown option {sorted(unknown)[0]!r}" if unknown else f"{len(args)} arguments"
        raise TypeError(f"to: got {got}; expected a device, a dtype, or both")
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    for place, value in enumerate(args):
        if place == 0 and (value is None or isinstance(value, str) or hasattr(value, "type")):
            device = value
        else:
            dtype = value
    return device, dtype
