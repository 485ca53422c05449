# SPDX-License-Identifier: MIT
"""The dense layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from schuss._options import as_count, as_dtype, as_flag, check_device, known_options, type_name
from schuss._schuss import Parameter, init_bound, make_linear
from schuss.nn import init
from schuss.nn.native import LayerSpec, NativeModule, layer_label

if TYPE_CHECKING:
    from schuss._typing import DTypeLike

__all__ = ["Linear"]


class Linear(NativeModule):
    r"""Dense layer, ``y = x @ weight.T + bias``.

    Weight and bias start uniform in ``[-1/sqrt(in_features), 1/sqrt(in_features))``, as PyTorch's
    do (LeCun et al., "Efficient BackProp", 1998, up to a factor).

    Parameters
    ----------
    in_features : int
        Columns of the input, 1 or more.
    out_features : int
        Columns of the output, 1 or more.
    bias : bool, default True
        Add a bias.
    device : None or "cpu"
        There is no other.
    dtype : schuss.float32 or schuss.float64, default float32
        Of the parameters, and of everything computed with them.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,), or None

    Raises
    ------
    TypeError
        A size is not an integer, or the dtype is another one.
    ValueError
        A size is not positive, the memory would overflow, or the device is not the CPU.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import nn
    >>> layer = nn.Linear(3, 2)
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    >>> layer.weight.shape, layer.bias.shape
    ((2, 3), (2,))
    """

    weight: Parameter
    bias: Parameter | None

    @known_options
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DTypeLike = None,
    ) -> None:
        super().__init__()
        check_device(device)
        self.in_features = as_count(in_features, "in_features")
        self.out_features = as_count(out_features, "out_features")
        weight, bias_parameter = make_linear(
            self.in_features, self.out_features, as_flag(bias, "bias"), as_dtype(dtype)
        )
        self.register_parameter("weight", weight)
        self.register_parameter("bias", bias_parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = init_bound("linear", float(self.in_features), 1.0)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("in_features", "out_features") and name in self.__dict__:
            raise AttributeError(f"{name}: the size of a layer is fixed; make another Linear")
        if name in ("weight", "bias") and not (name == "bias" and value is None):
            self._check_shared(name, value)
        super().__setattr__(name, value)

    def _check_shared(self, name: str, value: Any) -> None:
        if not isinstance(value, Parameter):
            raise TypeError(
                f"Linear.{name}: got {type_name(value)}; assign values with "
                f"layer.{name}.data = values, or another layer's {name} to share it"
            )
        n_in, n_out = self.in_features, self.out_features
        expected = (n_out, n_in) if name == "weight" else (n_out,)
        if value.shape != expected:
            raise ValueError(f"Linear.{name}: got shape {value.shape}; expected {expected}")
        # Equal strides: laid out as the kernels want it, which a weight of no layer is not.
        if value.numpy().strides != getattr(self, name, value).numpy().strides:
            raise TypeError(
                f"Linear.{name}: got a Parameter that is no layer's {name}, so its memory is not "
                f"laid out for one; copy its values with layer.{name}.data = parameter"
            )

    def _layers(self, path: str) -> Iterator[LayerSpec]:
        label = layer_label(path, f"Linear({self.in_features}, {self.out_features})")
        yield "linear", self.weight, self.bias, label

    def _config(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias is not None,
            "dtype": self.weight.dtype.name,
        }

    def extra_repr(self) -> str:
        """Sizes and whether there is a bias."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
