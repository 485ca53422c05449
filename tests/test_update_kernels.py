# SPDX-License-Identifier: MIT
"""SGD and Adam kernels of every instruction set against NumPy, PyTorch and each other."""

import itertools

import numpy as np
import pytest

from schuss import _schuss

testing = _schuss.testing

ISAS = testing.isas()
SIZES = [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65]
STEPS = 5

SGD_OPTIONS = [
    {"lr": 0.1, "weight_decay": decay, "maximize": maximize, **momentum}
    for decay, maximize, momentum in itertools.product(
        [0.0, 0.01],
        [False, True],
        [
            {},
            {"momentum": 0.9},
            {"momentum": 0.9, "dampening": 0.3},
            {"momentum": 0.9, "nesterov": True},
        ],
    )
]
ADAM_OPTIONS = [
    {"lr": 0.01, "amsgrad": amsgrad, "maximize": maximize, **decay, **betas}
    for amsgrad, maximize, decay, betas in itertools.product(
        [False, True],
        [False, True],
        [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled": True}],
        [{}, {"beta1": 0.3, "beta2": 0.5, "eps": 1e-3}],
    )
]


def make_case(n, dtype):
    rng = np.random.default_rng(n)
    return rng.normal(size=n).astype(dtype), rng.normal(size=(STEPS, n)).astype(dtype)


def reference_sgd(p, gradients, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, **flags):
    p = p.astype(np.float64)
    buffer = np.zeros_like(p)
    for t, g in enumerate(gradients.astype(np.float64)):
        g = (-g if flags.get("maximize") else g) + weight_decay * p
        if momentum:
            buffer = g if t == 0 else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if flags.get("nesterov") else buffer
        p = p - lr * g
    return p, buffer


def reference_adam(p, gradients, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, **flags):
    p = p.astype(np.float64)
    m, v, v_max = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients.astype(np.float64), start=1):
        g = -g if flags.get("maximize") else g
        if flags.get("decoupled"):
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        v_max = np.maximum(v_max, v)
        used = v_max if flags.get("amsgrad") else v
        p = p - lr / (1 - beta1**t) * m / (np.sqrt(used / (1 - beta2**t)) + eps)
    return p, m, v


def assert_close(got, expected, dtype):
    """A step is at most 12 roundings of numbers below 8 in size, and steps add up."""
    np.testing.assert_allclose(got, expected, rtol=0, atol=12 * STEPS * 8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_sgd_matches_numpy(options, dtype):
    p, gradients = make_case(65, dtype)
    got_p, got_buffer = testing.sgd(ISAS[-1], p, gradients, **options)
    want_p, want_buffer = reference_sgd(p, gradients, **options)
    assert_close(got_p[0], want_p, dtype)
    assert_close(got_buffer[0], want_buffer, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
def test_adam_matches_numpy(options, dtype):
    p, gradients = make_case(65, dtype)
    got_p, got_m, got_v, _ = testing.adam(ISAS[-1], p, gradients, **options)
    want_p, want_m, want_v = reference_adam(p, gradients, **options)
    assert_close(got_p[0], want_p, dtype)
    assert_close(got_m[0], want_m, dtype)
    assert_close(got_v[0], want_v, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("update", "options"),
    [("sgd", o) for o in SGD_OPTIONS] + [("adam", o) for o in ADAM_OPTIONS],
    ids=str,
)
def test_update_has_the_same_bits_everywhere(update, options, dtype):
    run = getattr(testing, update)
    for n in SIZES:
        p, gradients = make_case(n, dtype)
        expected = run("scalar", p, gradients, **options)
        for isa, offset in itertools.product(ISAS, [0, 1, 5]):
            got = run(isa, p, gradients, offset=offset, **options)
            for a, b in zip(got, expected, strict=True):
                assert a.tobytes() == b.tobytes(), (isa, n, offset)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("update", "options"),
    [("sgd", o) for o in SGD_OPTIONS]
    + [("adam", {**o, "eps": eps}) for o in ADAM_OPTIONS for eps in (1e-8, 0.0)],
    ids=str,
)
def test_padding_stays_plus_zero(update, options, isa):
    zeros = np.zeros(19, np.float32)
    for got in getattr(testing, update)(isa, zeros, np.zeros((3, 19), np.float32), **options):
        assert got.tobytes() == zeros.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subnormal_state_becomes_plus_zero(isa, dtype):
    """A gradient near the smallest normal number, then none: the state would stay subnormal."""
    tiny = np.finfo(dtype).tiny
    p = np.ones(17, dtype)
    gradients = np.zeros((2, 17), dtype)
    gradients[0] = [2 * tiny, -1.05 * tiny, 1.05 * tiny] + [tiny] * 14
    buffer = testing.sgd(isa, p, gradients, lr=0.1, momentum=0.75)[1][0]
    expected = np.zeros(17, dtype)
    expected[0] = 1.5 * tiny
    assert buffer.tobytes() == expected.tobytes()
    _, m, v, _ = testing.adam(isa, p, gradients)
    assert m.tobytes() == np.zeros(17, dtype).tobytes()  # a tenth of a gradient is subnormal
    assert v.tobytes() == np.zeros(17, dtype).tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_nan_gradient_reaches_its_parameter_and_no_other(isa):
    p, gradients = make_case(33, np.float32)
    gradients[2, 20] = np.nan
    for options in ({}, {"amsgrad": True}):
        got = testing.adam(isa, p, gradients, **options)[0][0]
        assert np.flatnonzero(np.isnan(got)).tolist() == [20]
    got = testing.sgd(isa, p, gradients, lr=0.1, momentum=0.5)[0][0]
    assert np.flatnonzero(np.isnan(got)).tolist() == [20]


def test_adam_with_beta1_of_zero_keeps_the_gradient_itself():
    p, gradients = make_case(33, np.float32)
    gradients[0] = 1e8  # a moving average that went the other way round would round g away
    m = testing.adam(ISAS[-1], p, gradients, beta1=0.0)[1][0]
    np.testing.assert_array_equal(m, gradients[-1])


@pytest.mark.torch
@pytest.mark.parametrize(
    ("update", "options"),
    [("sgd", o) for o in SGD_OPTIONS] + [("adam", o) for o in ADAM_OPTIONS],
    ids=str,
)
def test_update_matches_pytorch(update, options):
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs torch")
    p, gradients = make_case(33, np.float64)
    got = getattr(testing, update)(ISAS[-1], p, gradients, **options)[0][0]
    keywords = dict(options)
    kind = torch.optim.SGD
    if update == "adam":
        kind = torch.optim.AdamW if keywords.pop("decoupled", False) else torch.optim.Adam
        keywords.setdefault("weight_decay", 0.0)
        keywords["betas"] = (keywords.pop("beta1", 0.9), keywords.pop("beta2", 0.999))
    parameter = torch.nn.Parameter(torch.tensor(p))
    optimizer = kind([parameter], **keywords)
    for g in gradients:
        parameter.grad = torch.tensor(g)
        optimizer.step()
    assert_close(got, parameter.detach().numpy(), np.float64)
