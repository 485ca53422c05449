# SPDX-License-Identifier: MIT
"""Activations. Formulas are those of PyTorch's namesakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from schuss import _schuss
from schuss._options import as_count, as_flag, as_number, known_options
from schuss._schuss import Tensor
from schuss.nn.native import LayerSpec, NativeModule, layer_label

if TYPE_CHECKING:
    from schuss._typing import TensorLike

__all__ = [
    "ELU",
    "GELU",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "Tanh",
    "check_dim",
    "check_finite",
]


def check_finite(value: Any, name: str) -> float:
    """A finite number, as a float."""
    number = as_number(value, name)
    if number - number != 0.0:
        raise ValueError(f"{name}: got {number}; expected a finite number")
    return number


def check_dim(dim: Any, name: str = "dim") -> int | None:
    """The columns of a batch: None, 1 or -1."""
    if dim is None:
        return None
    index = as_count(dim, name, least=-(2**31))
    if index not in (1, -1):
        raise ValueError(
            f"{name}: got {index}; expected 1 or -1, the columns: inputs are (n, features)"
        )
    return index


class _Activation(NativeModule):
    _kind: ClassVar[str]
    # Attributes that are options, in the order of the constructor.
    _option_names: ClassVar[tuple[str, ...]] = ()

    def _constants(self) -> tuple[float, float, float]:
        """``a``, ``beta`` and ``threshold`` of the kernel."""
        return 0.0, 1.0, 20.0

    def _kernel(self) -> str:
        return self._kind

    def _layers(self, path: str) -> Iterator[LayerSpec]:
        label = layer_label(path, f"{type(self).__name__}({self.extra_repr()})")
        yield "activation", self._kernel(), *self._constants(), label

    def _config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._option_names}

    def extra_repr(self) -> str:
        """Each option with its value."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._option_names)


class Identity(_Activation):
    """Gives back its input, whatever it is constructed with.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.Identity()([[1.0, -2.0]]).tolist()
    [[1.0, -2.0]]
    """

    _kind = "identity"

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002  (as PyTorch's)
        super().__init__()


class ReLU(_Activation):
    """``x <= 0 ? 0 : x``. A NaN stays one; the gradient at 0 is 0.

    Parameters
    ----------
    inplace : bool, default False
        Accepted for PyTorch's sake; it changes nothing here.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.ReLU()([[-1.0, 0.0, 2.0]]).tolist()
    [[0.0, 0.0, 2.0]]
    """

    _kind = "relu"

    @known_options
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        as_flag(inplace, "inplace")


class LeakyReLU(_Activation):
    """``x > 0 ? x : negative_slope * x``.

    Parameters
    ----------
    negative_slope : float, default 0.01
    inplace : bool, default False
        Accepted for PyTorch's sake; it changes nothing here.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.LeakyReLU(0.5)([[-1.0, 0.0, 2.0]]).tolist()
    [[-0.5, 0.0, 2.0]]
    """

    _kind = "leaky_relu"
    _option_names = ("negative_slope",)

    @known_options
    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = check_finite(negative_slope, "negative_slope")
        as_flag(inplace, "inplace")

    def _constants(self) -> tuple[float, float, float]:
        return check_finite(self.negative_slope, "negative_slope"), 1.0, 20.0


class ELU(_Activation):
    """``x > 0 ? x : alpha * (exp(x) - 1)`` (Clevert, Unterthiner, Hochreiter, 2016).

    Parameters
    ----------
    alpha : float, default 1.0
    inplace : bool, default False
        Accepted for PyTorch's sake; it changes nothing here.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.ELU()([[0.0, 2.0]]).tolist()
    [[0.0, 2.0]]
    """

    _kind = "elu"
    _option_names = ("alpha",)

    @known_options
    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = check_finite(alpha, "alpha")
        as_flag(inplace, "inplace")

    def _constants(self) -> tuple[float, float, float]:
        return check_finite(self.alpha, "alpha"), 1.0, 20.0


class GELU(_Activation):
    """``x * Phi(x)``, Phi the normal distribution function (Hendrycks, Gimpel, 2016).

    Parameters
    ----------
    approximate : {"none", "tanh"}, default "none"
        ``"tanh"``: ``x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x^3)))``.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.GELU(approximate="tanh")([[0.0]]).tolist()
    [[0.0]]
    """

    _kind = "gelu"
    _option_names = ("approximate",)

    @known_options
    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate
        self._kernel()

    def _kernel(self) -> str:
        if self.approximate not in ("none", "tanh"):
            raise ValueError(f"approximate: got {self.approximate!r}; expected 'none' or 'tanh'")
        return "gelu" if self.approximate == "none" else "gelu_tanh"


class SiLU(_Activation):
    """``x * sigmoid(x)``, also called swish.

    Parameters
    ----------
    inplace : bool, default False
        Accepted for PyTorch's sake; it changes nothing here.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.SiLU()([[0.0]]).tolist()
    [[0.0]]
    """

    _kind = "silu"

    @known_options
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        as_flag(inplace, "inplace")


class Softplus(_Activation):
    """``beta*x > threshold ? x : log(1 + exp(beta*x)) / beta``.

    Parameters
    ----------
    beta : float, default 1.0
        Not zero.
    threshold : float, default 20.0

    Examples
    --------
    >>> from schuss import nn
    >>> print(f"{float(nn.Softplus()([[0.0]])):.4f}")
    0.6931
    """

    _kind = "softplus"
    _option_names = ("beta", "threshold")

    @known_options
    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = check_finite(beta, "beta")
        self.threshold = check_finite(threshold, "threshold")
        self._constants()

    def _constants(self) -> tuple[float, float, float]:
        beta = check_finite(self.beta, "beta")
        if beta == 0.0:
            raise ValueError("beta: got 0.0; expected a number other than 0")
        return 0.0, beta, check_finite(self.threshold, "threshold")


class Sigmoid(_Activation):
    """``1 / (1 + exp(-x))``.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.Sigmoid()([[0.0]]).tolist()
    [[0.5]]
    """

    _kind = "sigmoid"


class Tanh(_Activation):
    """The hyperbolic tangent.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.Tanh()([[0.0]]).tolist()
    [[0.0]]
    """

    _kind = "tanh"


class Step(_Activation):
    """The step of the perceptron, ``x > 0 ? 1 : 0`` (Rosenblatt, 1958).

    It cannot be trained through: its derivative is 0 wherever it has one, so every layer before it
    gets a gradient of zero and stays as it started. A sigmoid is the smooth step that can be.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.Step()([[-1.0, 0.0, 2.0]]).tolist()
    [[0.0, 0.0, 1.0]]
    """

    _kind = "step"


class _OverOneDimension(_Activation):
    """The columns of each row run natively; another dimension is an operation on a tensor."""

    _option_names = ("dim",)

    @known_options
    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = None if dim is None else as_count(dim, "dim", least=-(2**31))
        if self.dim not in (None, 1, -1):
            self.__dict__["_native"] = False

    def _constants(self) -> tuple[float, float, float]:
        return float(self.dim == -1), 1.0, 20.0  # whether the columns are the last dimension

    def _chain(self) -> Callable[[TensorLike], Tensor]:
        dim, kind = self.dim, self._kind

        def chain(x: TensorLike) -> Tensor:
            tensor = x if isinstance(x, Tensor) else _schuss.tensor(x)
            return _schuss.activation(tensor, kind, 0.0, 1.0, 20.0, -1 if dim is None else dim)

        return chain


class Softmax(_OverOneDimension):
    """``exp(x) / sum(exp(x))`` along a dimension.

    Parameters
    ----------
    dim : int, optional
        1, -1 and None are the columns of a batch, and native inside a model.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.Softmax(dim=1)([[2.0, 2.0]]).tolist()
    [[0.5, 0.5]]
    """

    _kind = "softmax"


class LogSoftmax(_OverOneDimension):
    """``x - log(sum(exp(x)))`` along a dimension.

    Parameters
    ----------
    dim : int, optional
        1, -1 and None are the columns of a batch, and native inside a model.

    Examples
    --------
    >>> from schuss import nn
    >>> print(f"{float(nn.LogSoftmax(dim=1)([[0.0, 0.0]]).numpy()[0, 0]):.4f}")
    -0.6931
    """

    _kind = "log_softmax"
