# SPDX-License-Identifier: MIT
"""Two small real data sets that ship with the package.

Where they come from and on what terms is said in each loader and, with the changes made, in
``SOURCES.txt`` beside the files. Nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Dataset", "load_auto_mpg", "load_digits", "stratified_holdout"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Dataset:
    """A table of samples and what is to be predicted from them.

    Attributes
    ----------
    data : ndarray of shape (n, features), float64
        One sample a row.
    target : ndarray of shape (n,)
        int64 class indices for classification, float64 values for regression.
    feature_names : tuple of str
        One name a column of `data`.
    target_names : tuple of str
        The names of the classes, or the one name of the value.
    source : str
        Who collected the data, where it was published, and its licence.
    """

    data: NDArray[np.float64]
    target: NDArray[Any]
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    source: str

    def __repr__(self) -> str:
        """One line: shapes and source, not the numbers."""
        return f"Dataset(data={self.data.shape}, target={self.target.shape}, {self.source!r})"


@overload
def load_digits(*, return_X_y: Literal[False] = False) -> Dataset: ...
@overload
def load_digits(*, return_X_y: Literal[True]) -> tuple[NDArray[np.float64], NDArray[np.int64]]: ...
def load_digits(
    *, return_X_y: bool = False
) -> Dataset | tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Load handwritten digits: 1,797 images of 8 by 8 pixels, ten classes.

    The test part of *Optical Recognition of Handwritten Digits* (E. Alpaydin and C. Kaynak, 1998),
    UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, under the Creative Commons
    Attribution 4.0 licence (CC BY 4.0). These are the images, in the order, that scikit-learn's
    ``load_digits`` gives.

    Parameters
    ----------
    return_X_y : bool, default False
        Give the pair ``(X, y)`` in place of a `Dataset`.

    Returns
    -------
    Dataset or (ndarray, ndarray)
        Samples of shape (1797, 64), float64, each pixel a count of 0 to 16 (divide by 16 to train);
        labels of shape (1797,), int64, 0 to 9. The arrays are new: changing them is safe.

    Examples
    --------
    >>> from schuss.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> X.shape, int(X.max()), y[:5].tolist()
    ((1797, 64), 16, [0, 1, 2, 3, 4])
    """
    with np.load(_FOLDER / "digits.npz", allow_pickle=False) as archive:
        data = archive["images"].astype(np.float64)
        target = archive["labels"].astype(np.int64)
    if return_X_y:
        return data, target
    return Dataset(
        data,
        target,
        tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
        tuple(str(digit) for digit in range(10)),
        "Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI, CC BY 4.0",
    )


@overload
def load_auto_mpg(*, return_X_y: Literal[False] = False) -> Dataset: ...
@overload
def load_auto_mpg(
    *, return_X_y: Literal[True]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def load_auto_mpg(
    *, return_X_y: bool = False
) -> Dataset | tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Load the fuel consumption of 392 car models of the years 1970 to 1982.

    *Auto MPG* (R. Quinlan, 1993), UCI Machine Learning Repository,
    https://doi.org/10.24432/C5859H, under the Creative Commons Attribution 4.0 licence
    (CC BY 4.0). The 6 cars of the original 398 whose horsepower is not known are left out.

    Parameters
    ----------
    return_X_y : bool, default False
        Give the pair ``(X, y)`` in place of a `Dataset`.

    Returns
    -------
    Dataset or (ndarray, ndarray)
        Samples of shape (392, 7), float64: cylinders, displacement (cubic inches), horsepower,
        weight (pounds), acceleration (seconds from 0 to 60 miles an hour), model_year (70 to 82)
        and origin (1 USA, 2 Europe, 3 Japan: a code, not a quantity); miles per US gallon of
        shape (392,), float64. The arrays are new: changing them is safe.

    Examples
    --------
    >>> from schuss.datasets import load_auto_mpg
    >>> cars = load_auto_mpg()
    >>> cars.data.shape, cars.feature_names[3], float(cars.data[0, 3]), float(cars.target[0])
    ((392, 7), 'weight', 3504.0, 18.0)
    """
    path = _FOLDER / "auto_mpg.csv"
    with path.open(encoding="ascii") as file:
        names = file.readline().strip().split(",")
        table = np.loadtxt(file, delimiter=",", dtype=np.float64)
    target = np.ascontiguousarray(table[:, 0])
    data = np.ascontiguousarray(table[:, 1:])
    if return_X_y:
        return data, target
    return Dataset(
        data,
        target,
        tuple(names[1:]),
        ("mpg",),
        "Quinlan (1993), Auto MPG, UCI, CC BY 4.0",
    )


def stratified_holdout(y: NDArray[Any], *, every: int = 5) -> NDArray[np.bool_]:
    """Choose the rows to hold out, evenly over the range of `y` and the same in every run.

    The rows are ranked by `y`, equal values in the order in which they stand, and the middle one
    of each group of `every` consecutive ranks is held out. Each class (or each stretch of the
    values, in a regression) so gives its share, and no random number is involved.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Class labels or target values.
    every : int, default 5
        One row in `every` is held out; at least 2.

    Returns
    -------
    ndarray of shape (n,), bool
        True for the rows held out.

    Raises
    ------
    ValueError
        `y` is not one-dimensional or has fewer than `every` rows, or `every` is below 2.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss.datasets import stratified_holdout
    >>> stratified_holdout(np.array([0, 1, 0, 1, 0, 1]), every=3).nonzero()[0].tolist()
    [2, 3]
    """
    if every < 2:
        raise ValueError(f"every: got {every}; expected 2 or more (1 would hold out every row)")
    y = np.asarray(y)
    if y.ndim != 1 or len(y) < every:
        raise ValueError(f"y: got shape {y.shape}; expected (n,) with n >= every = {every}")
    held_out = np.zeros(len(y), dtype=np.bool_)
    held_out[np.argsort(y, kind="stable")[every // 2 :: every]] = True
    return held_out
