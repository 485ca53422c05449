# SPDX-License-Identifier: MIT
"""The base of the optimizers: parameter groups that are live, and state that can be saved."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar

from schuss import _schuss
from schuss._busy import claim
from schuss._options import as_flag, as_number, type_name
from schuss._schuss import Parameter

if TYPE_CHECKING:
    from typing import TypeAlias

    Params: TypeAlias = Iterable[Parameter] | Iterable[Mapping[str, Any]]

__all__ = ["Optimizer", "ParamGroup", "optimizer_of"]

# Asked before a model's parameters are replaced by others.
_ALIVE: weakref.WeakSet[Optimizer] = weakref.WeakSet()

_FLAGS = frozenset({"nesterov", "maximize", "amsgrad"})


class ParamGroup(MutableMapping[str, Any]):
    """One group's parameters and options: reading and assigning go straight to the optimizer.

    Assigned values are checked first, and hold from the next step on, in `schuss.fit` too.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    >>> optimizer.param_groups[0]["lr"] *= 0.5
    >>> optimizer.param_groups[0]["lr"]
    0.05
    """

    __slots__ = ("_index", "_initial_lr", "_names", "_native")

    def __init__(self, native: _schuss.Optimizer, index: int, names: tuple[str, ...]) -> None:
        self._native = native
        self._index = index
        self._names = names
        self._initial_lr: float | None = None  # where a schedule started

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return self._native.params(self._index)
        if name == "initial_lr" and self._initial_lr is not None:
            return self._initial_lr
        if name not in self._names:
            raise KeyError(name)
        if name == "betas":
            get = self._native.get
            return get(self._index, "beta1"), get(self._index, "beta2")
        return self._native.get(self._index, name)

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "params":
            raise TypeError("params: a group keeps its parameters; use add_param_group for more")
        if name == "initial_lr":
            self._initial_lr = as_number(value, name)
            return
        options = native_options({name: value}, self._names)
        before = {option: self._native.get(self._index, option) for option in options}
        try:
            for option, number in options.items():
                self._native.set(self._index, option, number)
        except (TypeError, ValueError):
            for option, number in before.items():
                self._native.set(self._index, option, number)
            raise

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name}: options of a group cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        yield "params"
        yield from self._names
        if self._initial_lr is not None:
            yield "initial_lr"

    def __len__(self) -> int:
        return 1 + len(self._names) + (self._initial_lr is not None)

    def __repr__(self) -> str:
        return repr(dict(self))


def native_options(options: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float | bool]:
    """Options as the native optimizer calls them, checked for their kind."""
    native: dict[str, float | bool] = {}
    for name, value in options.items():
        if name not in names:
            raise TypeError(f"unknown option {name!r}; expected one of params, {', '.join(names)}")
        if name == "betas":
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise TypeError(f"betas: got {value!r}; expected two numbers")
            native["beta1"] = as_number(value[0], "betas[0]")
            native["beta2"] = as_number(value[1], "betas[1]")
        elif name in _FLAGS:
            native[name] = as_flag(value, name)
        else:
            native[name] = as_number(value, name)
    return native


class Optimizer:
    """Base of `SGD`, `Adam` and `AdamW`.

    Attributes
    ----------
    param_groups : list of ParamGroup
        Live: ``optimizer.param_groups[0]["lr"] = 0.01`` holds from the next step on.
    defaults : dict
        Options of a group that does not give its own.
    """

    _kind: ClassVar[str]
    _names: ClassVar[tuple[str, ...]]

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        native_options(defaults, self._names)
        self.defaults = defaults
        self.param_groups: list[ParamGroup] = []
        # What `fit` shuffled last: the seed, whole epochs, and where the one under way stopped.
        self._progress: dict[str, Any] = {"seed": None, "epoch": 0, "step": 0, "steps": 0}
        self._bind(_schuss.Optimizer(self._kind))
        for group in _as_groups(params):
            self.add_param_group(group)

    def _bind(self, native: _schuss.Optimizer) -> None:
        self._native = native
        _ALIVE.add(self)
        # Calls go straight to native code, unless a subclass has a method of its own.
        for name in ("step", "zero_grad"):
            if getattr(type(self), name) is getattr(Optimizer, name):
                self.__dict__[name] = getattr(native, name)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that requires a gradient and has one.

        Others stay as they are: no decay, no momentum.

        Parameters
        ----------
        closure : callable, optional
            Called first, to compute the cost and its gradients; the step returns its result.

        Raises
        ------
        RuntimeError
            Another thread is using the optimizer.
        """
        return self._native.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or with ``set_to_none=False`` fill them with zeros."""
        self._native.zero_grad(set_to_none)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own.

        Parameters
        ----------
        param_group : mapping
            ``{"params": parameters}`` and any option; those left out are `defaults`.

        Raises
        ------
        TypeError
            Something is not a Parameter, or an option is unknown or of the wrong kind.
        ValueError
            An option is out of range, or a parameter is in the optimizer already.
        """
        if not isinstance(param_group, Mapping):
            raise TypeError(f"param_group: got {type_name(param_group)}; expected a dict")
        if "params" not in param_group:
            raise ValueError('param_group: there is no "params" in it')
        own = {name: value for name, value in param_group.items() if name != "params"}
        initial_lr = own.pop("initial_lr", None)  # not an option: a schedule's
        options = native_options({**self.defaults, **own}, self._names)
        self._native.add_group(_as_parameters(param_group["params"]), options)
        group = ParamGroup(self._native, len(self.param_groups), self._names)
        if initial_lr is not None:
            group["initial_lr"] = initial_lr
        self.param_groups.append(group)

    def _parameters(self) -> list[Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    # ---- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copies of all state and options, laid out as PyTorch does.

        Returns
        -------
        dict
            ``"state"``: for each parameter's number its step count and buffers (C-contiguous
            arrays of the parameter's shape). ``"param_groups"``: options, and the numbers of the
            parameters. ``"progress"``: where `schuss.fit` goes on shuffling.
        """
        groups: list[dict[str, Any]] = []
        first = 0
        for group in self.param_groups:
            count = len(group["params"])
            options = {name: value for name, value in group.items() if name != "params"}
            groups.append({**options, "params": list(range(first, first + count))})
            first += count
        state = {i: s for i, s in enumerate(self._native.state()) if s["step"] or len(s) > 1}
        return {"state": state, "param_groups": groups, "progress": dict(self._progress)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave; everything is checked before any changes.

        Raises
        ------
        TypeError
            An option is of the wrong kind.
        ValueError
            `state_dict` is no such mapping, or the groups or shapes are others.
        RuntimeError
            Another thread is using the optimizer.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"state_dict: got {type_name(state_dict)}; expected what state_dict() gave"
            )
        if not {"state", "param_groups"} <= set(state_dict):
            raise ValueError("state_dict: expected what another optimizer's state_dict() gave")
        groups = state_dict["param_groups"]
        for group in groups:
            missing = ", ".join(name for name in self._names if name not in group)
            if missing:
                raise ValueError(
                    f"state_dict: a group has no {missing}; expected the state of another "
                    f"{type(self).__name__}"
                )
        sizes = [len(group["params"]) for group in groups]
        own_sizes = [len(group["params"]) for group in self.param_groups]
        if sizes != own_sizes:
            raise ValueError(f"state_dict: got groups of {sizes} parameters; expected {own_sizes}")
        options = [{k: v for k, v in group.items() if k in self._names} for group in groups]
        trial = type(self)._trial(options)
        numbers = [number for group in groups for number in group["params"]]
        states = [dict(state_dict["state"].get(number, {})) for number in numbers]
        for state in states:
            if "step" in state:
                state["step"] = int(state["step"])
        with claim(self._parameters(), "load_state_dict"):
            self._native.load_state(states)
            for index in range(len(groups)):
                _copy_options(trial, index, self._native, index, self._names)
                if groups[index].get("initial_lr") is not None:
                    self.param_groups[index]["initial_lr"] = groups[index]["initial_lr"]
            self._progress.update(state_dict.get("progress", {}))

    @classmethod
    def _trial(cls, groups: list[dict[str, Any]]) -> _schuss.Optimizer:
        """A native optimizer with these groups' options: raises where they are wrong."""
        trial = _schuss.Optimizer(cls._kind)
        for options in groups:
            trial.add_group([Parameter([0.0])], native_options(options, cls._names))
        return trial

    def __getstate__(self) -> dict[str, Any]:
        """Parameters, options and state; parameters keep their links to a model beside it."""
        own = {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("_native", "param_groups", "step", "zero_grad")
        }
        groups = [dict(group) for group in self.param_groups]
        return {**own, "groups": groups, "state": self._native.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        groups, native_state = state.pop("groups"), state.pop("state")
        self.__dict__.update(state)
        self.param_groups = []
        self._bind(_schuss.Optimizer(self._kind))
        for group in groups:
            self.add_param_group(group)
        self._native.load_state(native_state)

    def __repr__(self) -> str:
        lines = [f"{type_name(self)} ("]
        for index, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {index}")
            lines += [f"    {name}: {value}" for name, value in group.items() if name != "params"]
        return "\n".join([*lines, ")"])


def optimizer_of(parameter: Parameter) -> Optimizer | None:
    """Some optimizer that holds a parameter, or None."""
    return next(
        (found for found in _ALIVE if any(p is parameter for p in found._parameters())), None
    )


def _copy_options(
    source: _schuss.Optimizer,
    source_index: int,
    target: _schuss.Optimizer,
    target_index: int,
    names: tuple[str, ...],
) -> None:
    """Copy a checked group's options; every value on the way is a valid combination."""
    options = [n for name in names for n in (("beta1", "beta2") if name == "betas" else (name,))]
    if "nesterov" in options:
        # Nesterov depends on momentum and dampening: off while those change.
        target.set(target_index, "nesterov", False)
        options.sort(key="nesterov".__eq__)
    for name in options:
        target.set(target_index, name, source.get(source_index, name))


def _as_groups(params: Any) -> list[Mapping[str, Any]]:
    """Parameters, or groups of them, as a list of groups."""
    items = _as_list(params)
    if not items:
        raise ValueError("params: got no parameters; expected at least one")
    if isinstance(items[0], Mapping):
        return items
    return [{"params": items}]


def _as_parameters(params: Any) -> list[Parameter]:
    items = [params] if isinstance(params, Parameter) else _as_list(params)
    for item in items:
        if not isinstance(item, _schuss.Tensor):
            raise TypeError(f"params: got {type_name(item)} in it; expected parameters or tensors")
    return items


def _as_list(params: Any) -> list[Any]:
    # A set has no order to rely on, and a model is not its parameters.
    if isinstance(params, (_schuss.Tensor, Mapping, str, set, frozenset)) or callable(params):
        raise TypeError(
            f"params: got {type_name(params)}; expected an iterable of parameters or of groups, "
            "such as model.parameters()"
        )
    try:
        return list(params)
    except TypeError:
        raise TypeError(
            f"params: got {type_name(params)}; expected an iterable of parameters or of groups"
        ) from None
