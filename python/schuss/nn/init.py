# SPDX-License-Identifier: MIT
"""Initialisation in place, with PyTorch's names and formulas.

Values are addressed by (seed, element): no order of computation changes them. `generator` is a
`schuss.Generator`, an integer seed, or None for the process-wide state of `schuss.manual_seed`.

Sources: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
networks", 2010 (xavier); He et al., "Delving deep into rectifiers", 2015 (kaiming).

Examples
--------
>>> from schuss import nn
>>> layer = nn.Linear(100, 10)
>>> _ = nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=0)
>>> nn.init.zeros_(layer.bias).tolist()
[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
"""

from __future__ import annotations

from typing import Any, TypeVar

from schuss._grad_mode import no_grad
from schuss._options import as_number, type_name
from schuss._random import Generator, seed_from
from schuss._schuss import Parameter, Tensor, fill_constant, fill_normal, fill_uniform, init_bound

__all__ = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

TensorT = TypeVar("TensorT", bound=Tensor)


def uniform_(
    tensor: TensorT,
    a: float = 0.0,
    b: float = 1.0,
    generator: Generator | int | None = None,
) -> TensorT:
    """Fill with values uniform in ``[a, b)``; returns `tensor`.

    Parameters
    ----------
    tensor : Parameter or Tensor
    a, b : float, default 0.0 and 1.0
        ``a <= b``.
    generator : Generator, int or None
        Where the values come from.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import nn
    >>> values = nn.init.uniform_(nn.Parameter(np.zeros(100)), -1, 1, generator=0).numpy()
    >>> bool((values >= -1).all() and (values < 1).all())
    True
    """
    low, high = as_number(a, "a"), as_number(b, "b")
    if not low <= high:
        raise ValueError(f"a, b: got {low}, {high}; expected a <= b")
    _check(tensor)
    if isinstance(tensor, Parameter):
        fill_uniform(tensor, low, high, seed_from(generator), 0)
    else:
        with no_grad():
            tensor.uniform_(low, high, generator=generator)
    return tensor


def normal_(
    tensor: TensorT,
    mean: float = 0.0,
    std: float = 1.0,
    generator: Generator | int | None = None,
) -> TensorT:
    """Fill with normal values of the given mean and standard deviation; returns `tensor`.

    Parameters
    ----------
    tensor : Parameter or Tensor
    mean : float, default 0.0
    std : float, default 1.0
        0 or more.
    generator : Generator, int or None
        Where the values come from.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import nn
    >>> values = nn.init.normal_(nn.Parameter(np.zeros(1000)), mean=3.0, generator=0).numpy()
    >>> abs(float(values.mean()) - 3.0) < 0.1
    True
    """
    center, spread = as_number(mean, "mean"), as_number(std, "std")
    if not spread >= 0.0:
        raise ValueError(f"std: got {spread}; expected a number that is 0 or more")
    _check(tensor)
    if isinstance(tensor, Parameter):
        fill_normal(tensor, center, spread, seed_from(generator), 0)
    else:
        with no_grad():
            tensor.normal_(center, spread, generator=generator)
    return tensor


def constant_(tensor: TensorT, val: float) -> TensorT:
    """Fill with `val`; returns `tensor`.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.init.constant_(nn.Linear(2, 3).bias, 0.5).tolist()
    [0.5, 0.5, 0.5]
    """
    value = as_number(val, "val")
    _check(tensor)
    if isinstance(tensor, Parameter):
        fill_constant(tensor, value)
    else:
        with no_grad():
            tensor.fill_(value)
    return tensor


def zeros_(tensor: TensorT) -> TensorT:
    """Fill with 0; returns `tensor`.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.init.zeros_(nn.Linear(2, 3).bias).tolist()
    [0.0, 0.0, 0.0]
    """
    return constant_(tensor, 0.0)


def ones_(tensor: TensorT) -> TensorT:
    """Fill with 1; returns `tensor`.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.init.ones_(nn.Linear(2, 3).bias).tolist()
    [1.0, 1.0, 1.0]
    """
    return constant_(tensor, 1.0)


def xavier_uniform_(
    tensor: TensorT, gain: float = 1.0, generator: Generator | int | None = None
) -> TensorT:
    """Fill uniformly in ``+-gain * sqrt(6 / (fan_in + fan_out))``; returns `tensor`.

    Parameters
    ----------
    tensor : Parameter or Tensor
        Two-dimensional, ``(fan_out, fan_in)``.
    gain : float, default 1.0
        See `calculate_gain`.
    generator : Generator, int or None
        Where the values come from.

    Examples
    --------
    >>> from schuss import nn
    >>> weight = nn.init.xavier_uniform_(nn.Linear(4, 2).weight, generator=0)
    >>> bool((abs(weight.numpy()) <= 1.0).all())
    True
    """
    fan_in, fan_out = _fans(tensor)
    bound = init_bound("xavier_uniform", float(fan_in + fan_out), as_number(gain, "gain"))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(
    tensor: TensorT, gain: float = 1.0, generator: Generator | int | None = None
) -> TensorT:
    """Fill with normals of deviation ``gain * sqrt(2 / (fan_in + fan_out))``; returns `tensor`.

    The parameters are those of `xavier_uniform_`.

    Examples
    --------
    >>> from schuss import nn
    >>> weight = nn.init.xavier_normal_(nn.Linear(100, 100).weight, generator=0)
    >>> f"{float(weight.numpy().std()):.2f}"
    '0.10'
    """
    fan_in, fan_out = _fans(tensor)
    std = init_bound("xavier_normal", float(fan_in + fan_out), as_number(gain, "gain"))
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: TensorT,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | int | None = None,
) -> TensorT:
    """Fill uniformly in ``+-gain * sqrt(3 / fan)``; returns `tensor`.

    Parameters
    ----------
    tensor : Parameter or Tensor
        Two-dimensional, ``(fan_out, fan_in)``.
    a : float, default 0.0
        Negative slope of the leaky ReLU after the layer.
    mode : {"fan_in", "fan_out"}, default "fan_in"
        Keep the variance of the forward or of the backward pass.
    nonlinearity : str, default "leaky_relu"
        As for `calculate_gain`.
    generator : Generator, int or None
        Where the values come from.

    Examples
    --------
    >>> from schuss import nn
    >>> layer = nn.Linear(6, 2)
    >>> weight = nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=0)
    >>> bool((abs(weight.numpy()) <= 1.0).all())
    True
    """
    bound = init_bound("kaiming_uniform", _fan(tensor, mode), calculate_gain(nonlinearity, a))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: TensorT,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | int | None = None,
) -> TensorT:
    """Fill with normals of deviation ``gain / sqrt(fan)``; returns `tensor`.

    The parameters are those of `kaiming_uniform_`.

    Examples
    --------
    >>> from schuss import nn
    >>> layer = nn.Linear(200, 100)
    >>> weight = nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=0)
    >>> f"{float(weight.numpy().std()):.2f}"
    '0.10'
    """
    std = init_bound("kaiming_normal", _fan(tensor, mode), calculate_gain(nonlinearity, a))
    return normal_(tensor, 0.0, std, generator)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much weights grow to make up for an activation.

    Parameters
    ----------
    nonlinearity : {"linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"}
        1 for linear and sigmoid, 5/3 for tanh, sqrt(2) for relu, sqrt(2 / (1 + param^2)) for
        leaky_relu, 3/4 for selu.
    param : float, optional
        Negative slope of the leaky ReLU, 0.01 by default.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.init.calculate_gain("relu")
    1.4142135623730951
    """
    if nonlinearity in ("linear", "sigmoid"):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3.0
    if nonlinearity == "selu":
        return 0.75
    if nonlinearity == "relu":
        return init_bound("xavier_normal", 1.0, 1.0)  # sqrt(2), from native code
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else as_number(param, "param")
        return init_bound("xavier_normal", 1.0 + slope * slope, 1.0)
    raise ValueError(
        f"nonlinearity: got {nonlinearity!r}; expected one of linear, sigmoid, tanh, relu, "
        "leaky_relu, selu"
    )


def _check(tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor: got {type_name(tensor)}; expected a schuss.Parameter or Tensor")
    if tensor.dtype.kind != "f":
        raise TypeError(f"tensor: got dtype {tensor.dtype}; expected float32 or float64")


def _fans(tensor: Tensor) -> tuple[int, int]:
    _check(tensor)
    shape = tensor.shape
    if len(shape) != 2:
        raise ValueError(f"tensor: got shape {shape}; expected a weight (fan_out, fan_in)")
    return shape[1], shape[0]


def _fan(tensor: Tensor, mode: str) -> float:
    fan_in, fan_out = _fans(tensor)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode: got {mode!r}; expected 'fan_in' or 'fan_out'")
    return float(fan_in if mode == "fan_in" else fan_out)
