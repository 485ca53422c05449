# SPDX-License-Identifier: MIT
"""Lists and dictionaries of modules and parameters, for modules with a forward() of their own."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from schuss._options import type_name
from schuss._schuss import Parameter, Tensor
from schuss.nn.module import Module

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList"]


class _Collection(Module):
    """A module whose items are attributes; a subclass says what may be one and where they are."""

    def _checked(self, item: Any) -> Any:
        raise NotImplementedError

    def _items(self) -> dict[str, Any]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._items())


class _List(_Collection):
    """A list whose items are attributes named by their positions."""

    def __init__(self, items: Iterable[Any] | None = None) -> None:
        super().__init__()
        if items is not None:
            self.extend(items)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._items().values()))

    def __contains__(self, item: object) -> bool:
        return any(item is own for own in self._items().values())

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self._items().values())[index])
        return self._items()[self._name_at(index)]

    def __setitem__(self, index: SupportsIndex, item: Any) -> None:
        setattr(self, self._name_at(index), self._checked(item))

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        kept = list(self)
        if not isinstance(index, slice):
            self._name_at(index)
        del kept[index]
        self._replace(kept)

    def __iadd__(self, items: Iterable[Any]) -> Self:
        return self.extend(items)

    def __add__(self, items: Iterable[Any]) -> Self:
        return type(self)([*self, *items])

    def append(self, item: Any) -> Self:
        """Add an item at the end."""
        setattr(self, str(len(self)), self._checked(item))
        return self

    def extend(self, items: Iterable[Any]) -> Self:
        """Add items at the end, in order."""
        if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
            raise TypeError(f"{type_name(self)}: got {type_name(items)}; expected a list")
        for item in [self._checked(item) for item in items]:
            setattr(self, str(len(self)), item)
        return self

    def insert(self, index: SupportsIndex, item: Any) -> None:
        """Put an item before position `index`; those after it move up."""
        items = list(self)
        items.insert(operator.index(index), self._checked(item))
        self._replace(items)

    def pop(self, index: SupportsIndex = -1) -> Any:
        """Take the item at position `index` out, and return it."""
        item = self[index]
        del self[index]
        return item

    def _name_at(self, index: SupportsIndex) -> str:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"index: got {position}; there are {len(self)} items")
        return str(position % len(self))

    def _replace(self, items: list[Any]) -> None:
        self._items().clear()
        self._structure_changed()
        for item in items:
            self.append(item)


class ModuleList(_List):
    """A list of modules whose parameters are found; it has no ``forward`` of its own.

    Parameters
    ----------
    modules : iterable of Module, optional

    Examples
    --------
    >>> from schuss import nn
    >>> layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    >>> len(layers), len(list(layers.parameters()))
    (3, 6)
    >>> layers
    ModuleList(
      (0-2): 3 x Linear(in_features=4, out_features=4, bias=True)
    )
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__(modules)

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: slice) -> Self: ...
        @overload
        def __getitem__(self, index: SupportsIndex) -> Any: ...
        def __getitem__(self, index: Any) -> Any: ...

    def _checked(self, item: Any) -> Module:
        if isinstance(item, Module):
            return item
        raise TypeError(f"ModuleList: got {type_name(item)}; expected a module")

    def _items(self) -> dict[str, Any]:
        return self._modules

    def _child_lines(self) -> list[tuple[str, str]]:
        groups: list[tuple[int, int, str]] = []
        for index, module in enumerate(self):
            text = repr(module)
            if groups and groups[-1][2] == text:
                groups[-1] = (groups[-1][0], index, text)
            else:
                groups.append((index, index, text))
        return [
            (f"{a}", text) if a == b else (f"{a}-{b}", f"{b - a + 1} x {text}")
            for a, b, text in groups
        ]


class ParameterList(_List):
    """A list of parameters that `Module.parameters` finds.

    Parameters
    ----------
    values : iterable of Parameter or Tensor, optional
        A tensor becomes a parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import nn
    >>> weights = nn.ParameterList([nn.Parameter(np.zeros(2)), nn.Parameter(np.ones(3))])
    >>> [name for name, _ in weights.named_parameters()]
    ['0', '1']
    """

    def __init__(self, values: Iterable[Tensor] | None = None) -> None:
        super().__init__(values)

    def _checked(self, item: Any) -> Parameter:
        return _as_parameter(item, "ParameterList")

    def _items(self) -> dict[str, Any]:
        return self._parameters

    def _child_lines(self) -> list[tuple[str, str]]:
        return _parameter_lines(self._parameters)


class _Dict(_Collection):
    """A dictionary whose items are attributes named by their keys."""

    def __init__(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        if items is not None:
            self.update(items)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._items()))

    def __contains__(self, key: object) -> bool:
        return key in self._items()

    def __getitem__(self, key: str) -> Any:
        return self._items()[key]

    def __setitem__(self, key: str, item: Any) -> None:
        value = self._checked(item)
        self._check_new_name(key, "_modules" if isinstance(value, Module) else "_parameters")
        setattr(self, key, value)

    def __delitem__(self, key: str) -> None:
        del self._items()[key]
        self._structure_changed()

    def keys(self) -> list[str]:
        """The keys in order."""
        return list(self._items())

    def values(self) -> list[Any]:
        """The items in order."""
        return list(self._items().values())

    def items(self) -> list[tuple[str, Any]]:
        """Keys and items in order."""
        return list(self._items().items())

    def update(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add items, or put them in the place of those with the same keys."""
        for key, item in dict(items).items():
            self[key] = item

    def pop(self, key: str) -> Any:
        """Take an item out, and return it."""
        item = self[key]
        del self[key]
        return item

    def clear(self) -> None:
        """Take all items out."""
        self._items().clear()
        self._structure_changed()


class ModuleDict(_Dict):
    """A dictionary of modules whose parameters are found; it has no ``forward`` of its own.

    Parameters
    ----------
    modules : mapping of str to Module, or pairs, optional

    Examples
    --------
    >>> from schuss import nn
    >>> heads = nn.ModuleDict({"mean": nn.Linear(4, 1), "spread": nn.Linear(4, 1, bias=False)})
    >>> [name for name, _ in heads.named_parameters()]
    ['mean.weight', 'mean.bias', 'spread.weight']
    """

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        super().__init__(modules)

    def _checked(self, item: Any) -> Module:
        if isinstance(item, Module):
            return item
        raise TypeError(f"ModuleDict: got {type_name(item)}; expected a module")

    def _items(self) -> dict[str, Any]:
        return self._modules


class ParameterDict(_Dict):
    """A dictionary of parameters that `Module.parameters` finds.

    Parameters
    ----------
    parameters : mapping of str to Parameter or Tensor, or pairs, optional
        A tensor becomes a parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import nn
    >>> nn.ParameterDict({"scale": nn.Parameter(np.ones(2))})["scale"].shape
    (2,)
    """

    def __init__(
        self, parameters: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] | None = None
    ) -> None:
        super().__init__(parameters)

    def _checked(self, item: Any) -> Parameter:
        return _as_parameter(item, "ParameterDict")

    def _items(self) -> dict[str, Any]:
        return self._parameters

    def _child_lines(self) -> list[tuple[str, str]]:
        return _parameter_lines(self._parameters)


def _as_parameter(item: Any, owner: str) -> Parameter:
    if isinstance(item, Parameter):
        return item
    if isinstance(item, Tensor):
        return Parameter(item)
    raise TypeError(f"{owner}: got {type_name(item)}; expected a schuss.Parameter")


def _parameter_lines(parameters: Mapping[str, Parameter | None]) -> list[tuple[str, str]]:
    held = [(name, p) for name, p in parameters.items() if p is not None]
    return [(name, f"Parameter of {p.dtype}, {p.shape}") for name, p in held]
