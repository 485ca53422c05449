# SPDX-License-Identifier: MIT
"""What users may pass as data and targets, and the error that everything else gets.

The values below are exact in every dtype that is tried, so converted data must give the very bits
that the model's own dtype gives: no test here has a tolerance.
"""

from __future__ import annotations

import array
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import schuss
from schuss import nn, optim

Array = NDArray[Any]

N_ROWS, N_IN = 37, 5
DTYPES = [
    "float64",
    "float32",
    "float16",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "intc",
    "longlong",
    "ulonglong",
]
INTEGERS = DTYPES[3:]


def features(dtype: str = "float32") -> Array:
    """Integers from 0 to 15: exact in every numeric dtype."""
    values = (np.arange(N_ROWS * N_IN, dtype=np.int64) * 7919) % 16
    return values.reshape(N_ROWS, N_IN).astype(dtype)


def targets(dtype: str = "float32") -> Array:
    return ((np.arange(N_ROWS, dtype=np.int64) * 31) % 8).astype(dtype)


def labels(dtype: str = "int64") -> Array:
    return ((np.arange(N_ROWS, dtype=np.int64) * 31) % 3).astype(dtype)


def in_layout(layout: str, x: Array, folder: Path) -> Array:
    """The same values, laid out otherwise."""
    if layout == "fortran":
        return np.asfortranarray(x)
    if layout == "strided":
        wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
        wide[::2, ::3] = x
        return wide[::2, ::3]
    if layout == "padded rows":
        return np.pad(x, ((0, 0), (3, 2)))[:, 3:-2]
    if layout == "negative rows":
        return x[::-1].copy()[::-1]
    if layout == "negative both":
        return x[::-1, ::-1].copy()[::-1, ::-1]
    if layout == "unaligned":
        raw = np.zeros(x.nbytes + 1, np.uint8)
        moved = raw[1:].view(x.dtype).reshape(x.shape)
        moved[...] = x
        return moved
    if layout == "field":
        records = np.zeros(x.shape, np.dtype([("tag", "u1"), ("value", x.dtype)]))
        records["value"] = x
        return np.asarray(records["value"])
    if layout == "byte-swapped":
        return x.astype(x.dtype.newbyteorder())
    if layout == "byte-swapped fortran":
        return np.asfortranarray(x.astype(x.dtype.newbyteorder()))
    if layout == "read-only":
        frozen = x.copy()
        frozen.flags.writeable = False
        return frozen
    assert layout == "memory map"
    mapped = np.memmap(folder / "x.bin", x.dtype, "w+", shape=x.shape)
    mapped[...] = x
    mapped.flush()
    return np.memmap(folder / "x.bin", x.dtype, "r", shape=x.shape)


LAYOUTS = [
    "fortran",
    "strided",
    "padded rows",
    "negative rows",
    "negative both",
    "unaligned",
    "field",
    "byte-swapped",
    "byte-swapped fortran",
    "read-only",
    "memory map",
]


def make_model(n_out: int = 1, dtype: Any = np.float32) -> nn.Sequential:
    schuss.manual_seed(5)
    return nn.Sequential(
        nn.Linear(N_IN, 8, dtype=dtype), nn.ReLU(), nn.Linear(8, n_out, dtype=dtype)
    )


def bits(model: nn.Sequential) -> bytes:
    return b"".join(value.tobytes() for value in model.state_dict().values())


def train(
    x: Any, y: Any, *, classes: int = 0, dtype: Any = np.float32
) -> tuple[bytes, list[float]]:
    """Parameters and losses after two shuffled epochs with a short last batch."""
    model = make_model(classes or 1, dtype)
    criterion = nn.CrossEntropyLoss() if classes else nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.5)
    history = schuss.fit(
        model, criterion, optimizer, x, y, epochs=2, batch_size=8, shuffle=True, seed=3
    )
    return bits(model), [float(value) for value in history.loss]


# ---- what is accepted ------------------------------------------------------------------------


@pytest.mark.parametrize("model_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_of_x_and_y_does_not_change_a_bit(dtype: str, model_dtype: str) -> None:
    wanted = train(features(model_dtype), targets(model_dtype), dtype=model_dtype)
    assert train(features(dtype), targets(dtype), dtype=model_dtype) == wanted


def test_bool_is_zero_and_one() -> None:
    x, y = features() > 7, targets() > 3
    assert train(x, y) == train(x.astype("float32"), y.astype("float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_x_does_not_change_a_bit(layout: str, dtype: str, tmp_path: Path) -> None:
    x = in_layout(layout, features(dtype), tmp_path)
    assert train(x, targets()) == train(features(), targets())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_x_does_not_change_a_prediction(layout: str, tmp_path: Path) -> None:
    model = make_model()
    wanted = schuss.predict(model, features())
    x = in_layout(layout, features(), tmp_path)
    assert schuss.predict(model, x).tobytes() == wanted.tobytes()
    assert model(x).numpy().tobytes() == wanted.tobytes()


@pytest.mark.parametrize("layout", ["negative rows", "strided", "byte-swapped", "unaligned"])
def test_layout_of_y_does_not_change_a_bit(layout: str, tmp_path: Path) -> None:
    column = in_layout(layout, targets("float64").reshape(-1, 1), tmp_path)
    wanted = train(features(), targets())
    assert train(features(), column) == wanted
    assert train(features(), column[:, 0]) == wanted


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_of_any_integer_dtype_are_the_same(dtype: str) -> None:
    wanted = train(features(), labels(), classes=3)
    y = labels(dtype)
    assert train(features(), y, classes=3) == wanted
    assert (
        train(features(), y.astype(y.dtype.newbyteorder())[::-1].copy()[::-1], classes=3) == wanted
    )


def test_bool_labels_are_classes_0_and_1() -> None:
    y = labels() > 0
    assert train(features(), y, classes=2) == train(features(), y.astype(int), classes=2)


def test_one_hot_integers_are_probabilities() -> None:
    one_hot = np.eye(3, dtype=int)[labels()]
    wanted = train(features(), one_hot.astype("float32"), classes=3)
    assert train(features(), one_hot, classes=3) == wanted


class OnlyDLPack:
    """An array of another library that speaks nothing but DLPack."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.values.__dlpack_device__()


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda x: x.tolist(), id="list"),
        pytest.param(lambda x: tuple(map(tuple, x.tolist())), id="tuple"),
        pytest.param(memoryview, id="memoryview"),
        pytest.param(OnlyDLPack, id="dlpack"),
        pytest.param(np.ma.masked_array, id="masked array without a mask"),
    ],
)
def test_other_containers_give_the_same_bits(wrap: Callable[[Array], Any]) -> None:
    assert train(wrap(features()), targets()) == train(features(), targets())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_torch_tensors_give_the_same_bits(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x, y = torch.from_numpy(features(dtype)), torch.from_numpy(targets(dtype))
    wanted = train(features(), targets())
    assert train(x, y) == wanted
    assert train(x.T.contiguous().T, y) == wanted
    assert train(x, torch.from_numpy(labels()), classes=3) == train(x, labels(), classes=3)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_give_the_same_bits(library: str) -> None:
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    names = [f"x{i}" for i in range(N_IN)]
    wanted = train(features(), targets())
    for dtype in ("float64", "int64"):
        columns = {name: features(dtype)[:, i] for i, name in enumerate(names)}
        assert train(frames.DataFrame(columns), frames.Series(targets(dtype))) == wanted
    mixed = frames.DataFrame({name: features(DTYPES[i])[:, i] for i, name in enumerate(names)})
    assert train(mixed, frames.Series(targets())) == wanted


# ---- what is refused -------------------------------------------------------------------------


def refused_kinds() -> Iterator[Any]:
    """(case, object, words of the TypeError)."""
    x = features("float64")
    yield "None", None, "None"
    yield "str", "data.csv", "str"
    yield "bytes", b"data", "bytes"
    yield "int", 3, "type int"
    yield "float", 3.0, "type float"
    yield "NumPy scalar", np.float32(3), "numpy.float32"
    yield "object", object(), "type object"
    yield "dict", {"a": 1}, "dict"
    yield "set", {1, 2}, "set"
    yield "generator", (i for i in range(3)), "generator"
    yield "date", dt.date(2020, 1, 1), "datetime.date"
    yield "object array", x.astype(object), "dtype object"
    yield "None inside", [[1.0] * (N_IN - 1) + [None]], "dtype object"
    yield "huge integers", [[2**70] * N_IN], "dtype object"
    yield "strings", x.astype(str), "dtype <U"
    yield "list of strings", [["a"] * N_IN], "dtype <U1"
    yield "byte strings", x.astype("S8"), r"dtype \|S8"
    yield "complex64", x.astype("complex64"), r"dtype complex64.*\.real"
    yield "complex128", x.astype("complex128"), r"dtype complex128.*\.real"
    yield "datetime", x.astype("M8[s]"), "dtype datetime64"
    yield "timedelta", x.astype("m8[s]"), "dtype timedelta64"
    yield "longdouble", x.astype("longdouble"), r'astype\("float64"\)'
    yield "structured", np.zeros(3, [("a", "f4")]), "dtype"


def refused_shapes() -> Iterator[Any]:
    """(case, object, words of the ValueError)."""
    x = features("float64")
    yield "0-d", np.array(3.0), r"shape \(\)"
    yield "3-d", x.reshape(N_ROWS, N_IN, 1), r"shape \(37, 5, 1\)"
    yield "1-d", x[:, 0], r"shape \(37,\); expected \(n, 5\)"
    yield "one row as 1-d", x[0], r"reshape\(1, -1\)"
    yield "narrow", x[:, 1:], r"layer 0 \(Linear\(5, 8.*shape \(37, 4\); expected \(n, 5\)"
    yield "wide", np.zeros((3, 6)), r"layer 0 \(Linear\(5, 8.*shape \(3, 6\); expected \(n, 5\)"
    yield "no rows", x[:0], r"shape \(0, 5\)"
    yield "no columns", x[:, :0], r"shape \(37, 0\)"
    yield "empty list", [], r"shape \(0,\)"
    yield "ragged", [[1.0] * N_IN, [1.0]], "different lengths"
    yield "masked", np.ma.masked_array(x, x > 14), "masked"
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (2**60, N_IN), (0, 0))
    yield "size overflow", huge, "memory"


def by_fit(x: Any) -> None:
    model = make_model()
    before = bits(model)
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    try:
        schuss.fit(model, nn.MSELoss(), optimizer, x, targets(), epochs=1, batch_size=8)
    finally:
        assert bits(model) == before


ENTRIES = [
    pytest.param(by_fit, id="fit"),
    pytest.param(lambda x: make_model()(x), id="call"),
    pytest.param(lambda x: schuss.predict(make_model(), x), id="predict"),
]


@pytest.mark.parametrize("enter", ENTRIES)
@pytest.mark.parametrize(
    ("bad", "words"), [pytest.param(x, words, id=case) for case, x, words in refused_kinds()]
)
def test_features_of_a_wrong_kind_are_a_type_error(
    enter: Callable[[Any], None], bad: Any, words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        enter(bad)


@pytest.mark.parametrize("enter", ENTRIES)
@pytest.mark.parametrize(
    ("bad", "words"), [pytest.param(x, words, id=case) for case, x, words in refused_shapes()]
)
def test_features_of_a_wrong_shape_are_a_value_error(
    enter: Callable[[Any], None], bad: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        enter(bad)


def test_a_torch_tensor_with_history_is_refused() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.from_numpy(features()).requires_grad_()
    with pytest.raises(TypeError, match=r"torch\.Tensor that requires grad.*\.detach\(\)"):
        train(x, targets())
    with pytest.raises(TypeError, match=r"torch\.Tensor that cannot be read"):
        train(x.detach().to(torch.bfloat16), targets())


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_with_text_are_refused(library: str) -> None:
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    columns = {f"x{i}": ["a", "b"] if i == 0 else [1.0, 2.0] for i in range(N_IN)}
    with pytest.raises(TypeError, match="dtype object"):
        train(frames.DataFrame(columns), [1.0, 2.0])


def test_sparse_matrices_are_refused() -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    with pytest.raises(TypeError, match=r"\.toarray\(\)"):
        train(sparse.csr_matrix(features()), targets())


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_inside_a_foreign_array_passes(error: type[BaseException]) -> None:
    class Foreign:
        def __array__(self, *_: Any, **__: Any) -> Array:
            raise error

    with pytest.raises(error):
        train(Foreign(), targets())


# ---- targets ---------------------------------------------------------------------------------


def test_column_and_vector_are_the_same_target_of_one_output() -> None:
    assert train(features(), targets()) == train(features(), targets().reshape(-1, 1))


@pytest.mark.parametrize(
    ("n_out", "shape"),
    [
        (1, (N_ROWS, 2)),
        (1, (1, N_ROWS)),
        (2, (N_ROWS,)),
        (2, (N_ROWS, 1)),
        (2, (2, N_ROWS)),
        (2, (2,)),
    ],
)
def test_targets_are_never_broadcast(n_out: int, shape: tuple[int, ...]) -> None:
    model = make_model(n_out)
    before = bits(model)
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    with pytest.raises(ValueError, match=r"y has shape .*; expected \(37, .*not broadcast"):
        schuss.fit(model, nn.MSELoss(), optimizer, features(), np.zeros(shape), epochs=1)
    assert bits(model) == before


@pytest.mark.parametrize("classes", [0, 3])
def test_lengths_of_x_and_y_differ(classes: int) -> None:
    y = labels()[:-1] if classes else targets()[:-1]
    with pytest.raises(ValueError, match=r"y has shape \(36,\); expected 37 rows"):
        train(features(), y, classes=classes)


@pytest.mark.parametrize("bad", [None, "abc", targets().astype(complex), targets().astype(str)])
def test_targets_of_a_wrong_kind_are_a_type_error(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"y (is|has dtype)"):
        train(features(), bad)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_float_labels_are_a_type_error_with_the_fix(dtype: str) -> None:
    with pytest.raises(TypeError, match=rf"y has dtype {dtype}.*y\.astype\(int\)"):
        train(features(), labels(dtype), classes=3)


def test_a_column_of_labels_is_a_value_error_with_the_fix() -> None:
    with pytest.raises(ValueError, match=r"y has shape \(37, 1\).*y\.ravel\(\)"):
        train(features(), labels().reshape(-1, 1), classes=3)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(3, "int64"), (3, "uint8"), (-1, "int8"), (-(2**63), "int64"), (2**64 - 100, "uint64")],
)
def test_a_label_out_of_range_is_named_with_its_row(value: int, dtype: str) -> None:
    y = labels(dtype)
    y[11] = value
    with pytest.raises(ValueError, match=rf"y\[11\] is {value}; expected a class index"):
        train(features(), y, classes=3)


def test_ignored_labels_are_in_range() -> None:
    y = labels()
    y[5] = -100
    assert train(features(), y, classes=3)[0] != train(features(), labels(), classes=3)[0]


@pytest.mark.parametrize(("value", "text"), [(-0.5, "-0.5"), (np.nan, "nan"), (np.inf, "inf")])
def test_an_impossible_probability_is_named(value: float, text: str) -> None:
    y = np.full((N_ROWS, 3), 0.25)
    y[9, 1] = value
    with pytest.raises(ValueError, match=rf"y\[9, 1\] is {text}; expected a probability"):
        train(features(), y, classes=3)


def test_probabilities_of_the_wrong_width() -> None:
    with pytest.raises(ValueError, match=r"y has shape \(37, 2\); expected class probabilities"):
        train(features(), np.full((N_ROWS, 2), 0.5), classes=3)


# ---- held while in use -----------------------------------------------------------------------


def test_a_buffer_cannot_grow_while_fit_runs() -> None:
    y = array.array("d", targets("float64"))
    model = make_model()
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    epochs = []

    def grow(*_: Any) -> bool:
        # Only an export by fit itself forbids this: nobody else looks into y.
        with pytest.raises(BufferError):
            y.append(1.0)
        epochs.append(len(y))
        return False

    schuss.fit(model, nn.MSELoss(), optimizer, features(), y, epochs=2, batch_size=8, callback=grow)
    assert epochs == [N_ROWS, N_ROWS]
    y.append(1.0)
