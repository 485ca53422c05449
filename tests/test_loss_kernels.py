# SPDX-License-Identifier: MIT
"""Loss kernels of every instruction set against NumPy, PyTorch and each other."""

import numpy as np
import pytest

from schuss import _schuss

testing = _schuss.testing

ISAS = testing.isas()
COLUMNS = [1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65]
ELEMENTWISE = ["mse", "l1", "huber", "smooth_l1", "bce", "bce_with_logits"]
BY_ROW = ["cross_entropy_index", "cross_entropy_probs", "nll"]
BY_LABEL = ["cross_entropy_index", "nll"]


def make_case(kind, rows, cols, dtype, seed=0, weighted=True):
    """A prediction, its target, and options that take every branch."""
    rng = np.random.default_rng([seed, rows, cols])
    x = rng.normal(0, 3, (rows, cols)).astype(dtype)
    options = {"scale": 0.37}
    if kind in BY_LABEL:
        target = rng.integers(0, cols, rows)
        if rows > 2:
            target[1] = -100
        if kind == "nll":
            x = -np.abs(x)
    elif kind == "cross_entropy_probs":
        target = rng.dirichlet(np.ones(cols), rows).astype(dtype)
    elif kind in ("bce", "bce_with_logits"):
        target = rng.uniform(0, 1, (rows, cols)).astype(dtype)
        target.flat[::3] = np.round(target.flat[::3])
        if kind == "bce":
            x = rng.uniform(0.01, 0.99, (rows, cols)).astype(dtype)
            x.flat[::5] = np.round(x.flat[::5])
    else:
        target = (x + rng.normal(0, 1, (rows, cols))).astype(dtype)
        target.flat[::4] = x.flat[::4]
    if kind in ("huber", "smooth_l1"):
        options["a"] = 0.75
    if weighted and (kind in BY_ROW or kind.startswith("bce")):
        options["weight"] = rng.uniform(0.5, 2, cols).astype(dtype)
    if weighted and kind == "bce_with_logits":
        options["pos_weight"] = rng.uniform(0.5, 2, cols).astype(dtype)
    if weighted and kind.startswith("cross_entropy"):
        options["label_smoothing"] = 0.1
    return x, target, options


def reference_elementwise(kind, x, t, a=1.0, weight=1.0, pos_weight=1.0):
    """PyTorch's formulas in float64: (value, gradient) of each element."""
    d = x - t
    size = np.abs(d)
    if kind == "mse":
        return d**2, 2 * d
    if kind == "l1":
        return size, np.sign(d)
    if kind == "huber":
        value = np.where(size < a, 0.5 * size**2, a * (size - 0.5 * a))
        return value, np.clip(d, -a, a)
    if kind == "smooth_l1":
        value = np.where(size < a, 0.5 * size**2 / a, size - 0.5 * a)
        return value, np.clip(d / a, -1, 1)
    if kind == "bce":
        with np.errstate(divide="ignore"):
            log_yes = np.maximum(np.log(x), -100)
            log_no = np.maximum(np.log1p(-x), -100)
        value = (t - 1) * log_no - t * log_yes
        return value * weight, d / np.maximum((1 - x) * x, 1e-12) * weight
    softplus = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)
    both = 1 + (pos_weight - 1) * t
    sigmoid = 1 / (1 + np.exp(-x))
    return (
        ((1 - t) * x + both * softplus) * weight,
        (both * sigmoid - pos_weight * t) * weight,
    )


def reference_rows(kind, x, target, weight=None, label_smoothing=0.0, ignore_index=-100):
    """PyTorch's formulas in float64: (value of each row, gradient)."""
    rows, cols = x.shape
    w = np.ones(cols) if weight is None else weight.astype(float)
    if kind == "cross_entropy_probs":
        t = target * (1 - label_smoothing) + label_smoothing / cols
        counts = np.ones(rows, bool)
    else:
        counts = target != ignore_index
        label = np.where(counts, target, 0)
        t = np.zeros((rows, cols))
        t[np.arange(rows), label] = 1
    if kind == "nll":
        q = t * w * counts[:, None]
        return -(q * x).sum(axis=1), -q
    if kind == "cross_entropy_index":
        t = t * (1 - label_smoothing) + label_smoothing / cols
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    q = t * w * counts[:, None]
    return -(q * log_p).sum(axis=1), np.exp(log_p) * q.sum(axis=1, keepdims=True) - q


def reference(kind, x, target, options):
    """(row_loss, d_prediction) in float64, scaled."""
    named = {
        name: value
        for name, value in options.items()
        if name in ("a", "weight", "pos_weight", "label_smoothing", "ignore_index")
    }
    x = x.astype(np.float64)
    if kind in ELEMENTWISE:
        value, d = reference_elementwise(kind, x, target.astype(np.float64), **named)
        rows = value.sum(axis=1)
    else:
        rows, d = reference_rows(kind, x, target, **named)
    return rows, d * options.get("scale", 1.0)


def tolerance(dtype, cols):
    """Relative to the largest summand: a chain of at most cols/lanes + 4 additions, and a dozen
    roundings in a formula; gradients cancel from 1, so their error is absolute.
    """
    return (cols + 16) * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ELEMENTWISE + BY_ROW)
def test_loss_matches_numpy_on_every_size(kind, weighted, dtype):
    for cols in COLUMNS:
        for rows in (1, 5, 18):
            x, target, options = make_case(kind, rows, cols, dtype, weighted=weighted)
            got = testing.loss(ISAS[-1], kind, x, target, **options)
            value, d = reference(kind, x, target, options)
            bound = tolerance(dtype, cols)
            scale = max(1.0, np.abs(value).max())
            np.testing.assert_allclose(got["row_loss"], value, rtol=bound, atol=bound * scale)
            scale = max(1.0, np.abs(d).max())
            np.testing.assert_allclose(got["d_prediction"], d, rtol=bound, atol=bound * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ELEMENTWISE + BY_ROW)
def test_loss_has_the_same_bits_everywhere(kind, dtype):
    """Every instruction set, alignment, leading dimension, in place or not, with or without the
    other result; the memory around the rows stays as it was (the hook checks)."""
    for cols in COLUMNS:
        for rows in (1, 3, 17):
            x, target, options = make_case(kind, rows, cols, dtype)
            options["row_scale"] = np.linspace(0.5, 1.5, rows).astype(dtype)
            expected = testing.loss("scalar", kind, x, target, elements=True, **options)
            for isa in ISAS:
                for layout in (
                    {},
                    {"offset": 1},
                    {"offset": 3, "gap": 5},
                    {"in_place": True},
                    {"in_place": True, "offset": 1, "gap": 2},
                ):
                    got = testing.loss(isa, kind, x, target, elements=True, **layout, **options)
                    assert got.keys() == expected.keys()
                    for name, values in expected.items():
                        assert got[name].tobytes() == values.tobytes(), (isa, cols, layout, name)
                alone = testing.loss(isa, kind, x, target, gradient=False, **options)
                assert alone["row_loss"].tobytes() == expected["row_loss"].tobytes()
                alone = testing.loss(isa, kind, x, target, value=False, **options)
                assert alone["d_prediction"].tobytes() == expected["d_prediction"].tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ELEMENTWISE + BY_ROW)
def test_loss_of_no_rows_does_nothing(kind, isa):
    x, target, options = make_case(kind, 0, 5, np.float32)
    got = testing.loss(isa, kind, x, target, **options)
    assert got["row_loss"].shape == (0,)
    assert got["d_prediction"].shape == (0, 5)


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_elementwise_loss_with_element_scale_is_the_gradient_times_it(kind):
    """Products with powers of two are exact, so the results are equal, not close."""
    for cols in (1, 10, 17):
        x, target, options = make_case(kind, 9, cols, np.float32)
        plain = testing.loss(ISAS[-1], kind, x, target, elements=True, **options)
        scale = 2.0 ** np.random.default_rng(0).integers(-3, 4, x.shape).astype(np.float32)
        scaled = testing.loss(
            ISAS[-1], kind, x, target, elements=True, element_scale=scale, **options
        )
        np.testing.assert_array_equal(scaled["d_prediction"], plain["d_prediction"] * scale)
        np.testing.assert_array_equal(scaled["element_loss"], plain["element_loss"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["bce_with_logits", "cross_entropy_index", "cross_entropy_probs"])
@pytest.mark.parametrize("cols", [1, 2, 10, 40])
def test_loss_is_stable_at_huge_logits(kind, cols, dtype):
    rng = np.random.default_rng(cols)
    x = (1e4 * rng.choice([-1.0, 1.0, 0.5], (12, cols))).astype(dtype)
    if kind == "cross_entropy_index":
        target = rng.integers(0, cols, 12)
    else:
        target = np.eye(cols, dtype=dtype)[rng.integers(0, cols, 12)]
    with np.errstate(over="ignore"):
        value, d = reference(kind, x, target, {})
    got = testing.loss(ISAS[-1], kind, x, target)
    assert np.isfinite(got["row_loss"]).all()
    # Each term is an exact multiple of 5000 up to a logarithm of at most log(40): one rounding of
    # the term and one of each sum.
    bound = 4 * np.finfo(dtype).eps * np.maximum(np.abs(value), 1.0) * (cols + 4)
    assert (np.abs(got["row_loss"] - value) <= bound).all()
    np.testing.assert_allclose(got["d_prediction"], d, atol=8 * np.finfo(dtype).eps)


def test_bce_with_logits_keeps_small_losses_that_the_textbook_form_rounds_away():
    """softplus(-20) is 2.06e-9; (1-t)*x + softplus(-x) loses it against 20 in float32."""
    got = testing.loss(ISAS[-1], "bce_with_logits", np.float32([[-20.0], [20.0]]), [[0.0], [1.0]])
    np.testing.assert_allclose(got["row_loss"], np.log1p(np.exp(-20.0)), rtol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", BY_LABEL)
@pytest.mark.parametrize("cols", [4, 20])
def test_ignored_rows_are_plus_zero(kind, cols, isa):
    x, target, options = make_case(kind, 20, cols, np.float32)
    target[1] = 0  # make_case ignores this row by the default index, which is no label here
    target[::2] = 7777
    x[0] = np.nan
    got = testing.loss(isa, kind, x, target, **{**options, "ignore_index": 7777})
    for name in ("row_loss", "d_prediction"):
        assert got[name][::2].tobytes() == np.zeros_like(got[name][::2]).tobytes()
        assert np.abs(got[name][3::2]).sum() > 0


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ELEMENTWISE + BY_ROW)
@pytest.mark.parametrize("cols", [1, 5, 20])
def test_nan_passes(kind, cols, isa):
    x, target, options = make_case(kind, 6, cols, np.float32)
    if kind in BY_LABEL:
        target[:] = cols // 2
    x[4, cols // 2] = np.nan
    got = testing.loss(isa, kind, x, target, **options)
    assert np.flatnonzero(np.isnan(got["row_loss"])).tolist() == [4]
    if kind != "nll":  # whose gradient does not depend on the prediction
        assert np.isnan(got["d_prediction"][4, cols // 2])
    assert np.isfinite(np.delete(got["d_prediction"], 4, axis=0)).all()


def test_gradients_at_their_corners_are_those_of_pytorch():
    zero = np.float64([[0.0, -0.0]])
    assert testing.loss(ISAS[-1], "l1", zero, zero)["d_prediction"].tolist() == [[0.0, 0.0]]
    one = np.float64([[1.0, -1.0]])
    huber = testing.loss(ISAS[-1], "huber", one, zero, a=1.0)
    assert huber["d_prediction"].tolist() == [[1.0, -1.0]]
    assert huber["row_loss"].tolist() == [1.0]
    flat = testing.loss(ISAS[-1], "smooth_l1", np.float64([[0.0, 3.0, -2.0]]), [[0, 0, 0]], a=0.0)
    assert flat["d_prediction"].tolist() == [[0.0, 1.0, -1.0]]
    assert flat["row_loss"].tolist() == [5.0]
    certain = testing.loss(ISAS[-1], "bce", np.float64([[0.0, 1.0]]), [[1.0, 0.0]])
    assert certain["row_loss"].tolist() == [200.0]  # each logarithm stops at -100
    np.testing.assert_allclose(certain["d_prediction"], [[-1e12, 1e12]], rtol=1e-15)


def test_cross_entropy_options_give_the_reference_numbers():
    """What PyTorch 2.13 printed in float64 to 12 decimals; the mean is formed here."""
    x = np.float64([[10, 1, -2], [1, 4, 0.2], [0.5, 0.5, 0.5]])
    labels = np.array([1, 0, 2])
    w = np.float64([1, 2, 4])
    one_hot = np.eye(3)[labels]

    def total(kind, target, **options):
        return testing.loss(ISAS[-1], kind, x, target, weight=w, **options)["row_loss"].sum()

    index, probs = "cross_entropy_index", "cross_entropy_probs"
    assert abs(total(index, labels) / w[labels].sum() - 3.637768790964) < 1e-12
    assert abs(total(probs, one_hot) / 3 - 8.488127178916) < 1e-12
    smooth = {"label_smoothing": 0.1}
    assert abs(total(index, labels, **smooth) / w[labels].sum() - 3.713891463657) < 1e-12
    assert abs(total(probs, one_hot, **smooth) / 3 - 8.665746748533) < 1e-12
    ignored = total(index, np.array([1, -100, 2]), **smooth) / (w[1] + w[2])
    assert abs(ignored - 3.768601752666) < 1e-12


@pytest.mark.torch
@pytest.mark.parametrize("cols", [1, 5, 20])
@pytest.mark.parametrize("kind", ELEMENTWISE + BY_ROW)
def test_loss_matches_pytorch(kind, cols):
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs torch")
    functional = torch.nn.functional
    x, target, options = make_case(kind, 7, cols, np.float64)
    got = testing.loss(ISAS[-1], kind, x, target, **options)
    prediction = torch.tensor(x, requires_grad=True)
    goal = torch.tensor(target)
    weight = torch.tensor(options["weight"]) if "weight" in options else None
    smoothing = options.get("label_smoothing", 0.0)
    value = {
        "mse": lambda: functional.mse_loss(prediction, goal, reduction="none"),
        "l1": lambda: functional.l1_loss(prediction, goal, reduction="none"),
        "huber": lambda: functional.huber_loss(prediction, goal, reduction="none", delta=0.75),
        "smooth_l1": lambda: functional.smooth_l1_loss(
            prediction, goal, reduction="none", beta=0.75
        ),
        "bce": lambda: functional.binary_cross_entropy(
            prediction, goal, weight=weight, reduction="none"
        ),
        "bce_with_logits": lambda: functional.binary_cross_entropy_with_logits(
            prediction,
            goal,
            weight=weight,
            pos_weight=torch.tensor(options["pos_weight"]),
            reduction="none",
        ),
        "cross_entropy_index": lambda: functional.cross_entropy(
            prediction, goal, weight=weight, label_smoothing=smoothing, reduction="none"
        ),
        "cross_entropy_probs": lambda: functional.cross_entropy(
            prediction, goal, weight=weight, label_smoothing=smoothing, reduction="none"
        ),
        "nll": lambda: functional.nll_loss(prediction, goal, weight=weight, reduction="none"),
    }[kind]()
    (value.sum() * options["scale"]).backward()
    rows = value.detach().numpy().reshape(7, -1).sum(axis=1)
    d = prediction.grad.numpy()
    if kind == "bce":  # PyTorch's least denominator is 1e-12 rounded to float32, ours is not
        at_end = (x == 0) | (x == 1)
        np.testing.assert_allclose(got["d_prediction"][at_end], d[at_end], rtol=2.0**-24)
        got["d_prediction"][at_end] = d[at_end]
    # Both sides round: twice the tolerance against exact arithmetic.
    bound = 2 * tolerance(np.float64, cols)
    np.testing.assert_allclose(
        got["row_loss"], rows, rtol=bound, atol=bound * max(1.0, np.abs(rows).max())
    )
    np.testing.assert_allclose(
        got["d_prediction"], d, rtol=bound, atol=bound * max(1.0, np.abs(d).max())
    )
