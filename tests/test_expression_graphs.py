# SPDX-License-Identifier: MIT
"""Random expressions against PyTorch; graphs that live long or grow deep; the same bits on every
instruction set."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expression_cases import CASES, operands
from hypothesis import given, settings
from hypothesis import strategies as st

import schuss
from schuss._schuss import testing

ISAS: list[str] = list(testing.isas())

UNARY = {
    "neg": lambda m, a: -a,
    "tanh": lambda m, a: m.tanh(a),
    "sigmoid": lambda m, a: m.sigmoid(a),
    "relu": lambda m, a: m.relu(a),
    "square": lambda m, a: m.tanh(a) ** 2,
    "exp": lambda m, a: m.exp(m.tanh(a)),
    "sin": lambda m, a: m.sin(a),
    "cos": lambda m, a: m.cos(a),
    "log": lambda m, a: m.log(a * a + 1.5),
    "sqrt": lambda m, a: m.sqrt(a * a + 0.5),
    "mean rows": lambda m, a: a.mean(0, keepdim=True) if a.dim() > 0 else a.mean(),
    "sum columns": lambda m, a: a.sum(-1, keepdim=True) / 4,
    "softmax": lambda m, a: m.softmax(a, dim=-1),
    "log_softmax": lambda m, a: m.log_softmax(a, dim=-1),
    "cumsum": lambda m, a: m.tanh(a).cumsum(0),
    "product": lambda m, a: m.tanh(a).prod(1, keepdim=True),
    "norm": lambda m, a: a.norm(dim=1, keepdim=True),
    "logsumexp": lambda m, a: m.logsumexp(a, dim=1, keepdim=True),
    "sorted": lambda m, a: m.tanh(a).sort(dim=0).values,
    "flip": lambda m, a: a.flip(0),
    "repeat": lambda m, a: a[:2].repeat(2, 1),
    "turn": lambda m, a: a.transpose(0, 1),
    "first rows": lambda m, a: a[:2],
    "rows again": lambda m, a: a[[0, -1, 0]],
    "clone": lambda m, a: a.clone(),
    "stack": lambda m, a: m.stack([a, a * 0.5]).mean(0),
    "cat": lambda m, a: m.cat([a, a * 0.5], dim=0),
}
BINARY = {
    "add": lambda m, a, b: a + b,
    "sub": lambda m, a, b: a - b,
    "mul": lambda m, a, b: m.tanh(a) * b,
    "div": lambda m, a, b: a / (b * b + 1),
    "maximum": lambda m, a, b: m.maximum(a, b),
    "where": lambda m, a, b: m.where(a.detach() > b.detach(), a, b),
    "matmul": lambda m, a, b: m.tanh(a) @ m.tanh(b) if a.shape[1] == b.shape[0] else a - b,
}


def fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(x == y or 1 in (x, y) for x, y in zip(a, b, strict=True))


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    steps = draw(st.integers(1, 12))
    names = st.sampled_from([*UNARY, *BINARY, *BINARY])
    place = st.integers(0, 30)
    return [(draw(names), draw(place), draw(place)) for _ in range(steps)]


def run(m: Any, program: list[tuple[str, int, int]], leaves: list[np.ndarray]) -> list[np.ndarray]:
    tensors = [m.tensor(x, requires_grad=True) for x in leaves]
    made = list(tensors)
    for name, i, j in program:
        a, b = made[i % len(made)], made[j % len(made)]
        if name in UNARY:
            made.append(UNARY[name](m, a))
        elif fits(tuple(a.shape), tuple(b.shape)):
            made.append(BINARY[name](m, a, b))
    cost = sum(((x * x).sum() for x in made), m.tensor(0.0, dtype=m.float64))
    cost.backward()
    return [made[-1].detach().numpy(), *(t.grad.numpy() for t in tensors)]


@pytest.mark.torch
@settings(max_examples=150, deadline=None)
@given(programs(), st.integers(0, 2**16))
def test_random_programs_are_pytorchs(program: list[tuple[str, int, int]], seed: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    shapes = [(4, 4), (4, 1), (1, 4)]
    leaves = [rng.uniform(-2, 2, shape) for shape in shapes]
    for ours, theirs in zip(run(schuss, program, leaves), run(torch, program, leaves), strict=True):
        # Twelve steps of short sums, each of a few roundings, on well-scaled functions.
        scale = max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * scale)


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.no_sanitizer  # which keeps what is freed for a while
def test_memory_is_back_after_a_hundred_thousand_steps() -> None:
    x = schuss.arange(1, 31, dtype=schuss.float32).reshape(-1, 1)
    weight = schuss.zeros(1, requires_grad=True)

    def steps(count: int) -> None:
        for _ in range(count):
            cost = ((weight * x - 2 * x) ** 2).mean()
            cost.backward()
            with schuss.no_grad():
                weight.sub_(weight.grad * 1e-4)
            weight.grad = None

    steps(2000)
    before = resident()
    steps(100_000)
    # A leak of one block of 64 bytes a step would be 6 MB.
    assert resident() - before < 2_000_000
    assert abs(weight.item() - 2) < 1e-3


def test_deep_graph_is_walked_and_freed_without_recursion() -> None:
    x = schuss.tensor(1.0, requires_grad=True, dtype=schuss.float64)
    y = x
    for _ in range(100_000):
        y = y * 1.00001
    y.backward(retain_graph=True)
    assert x.grad is not None
    # 1.00001 multiplied 100000 times, in the opposite order, each time with one rounding.
    assert x.grad.item() == pytest.approx(y.item(), rel=1e5 * 2**-52)
    y.backward()
    del y


def test_wide_graph_gathers_in_one_tensor() -> None:
    x = schuss.ones(3, requires_grad=True)
    hidden = x * 2
    total = sum((hidden * float(k) for k in range(1, 201)), schuss.zeros(3))
    total.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0 * 200 * 201 / 2] * 3


def digests() -> dict[str, str]:
    found = {}
    for name, case in CASES.items():
        for dtype in (np.float32, np.float64):
            tensors = [
                schuss.tensor(x.astype(dtype), requires_grad=True) for x in operands(case, 7)
            ]
            output = case.run(schuss, *tensors)
            (output * output).sum().backward()
            digest = hashlib.sha256(output.numpy().tobytes())
            for t in tensors:
                digest.update(b"" if t.grad is None else t.grad.numpy().tobytes())
            found[f"{name} {np.dtype(dtype).name}"] = digest.hexdigest()
    schuss.manual_seed(11)
    for made in (
        schuss.rand(100),
        schuss.randn(100),
        schuss.randn(9, dtype=schuss.float64),
        schuss.randint(-5, 1000, (50,)),
        schuss.randperm(300),
        schuss.linspace(-1, 2, 7),
        schuss.zeros(40).normal_(1.0, 3.0),
        schuss.zeros(40).uniform_(-2.0, 3.0),
    ):
        found[f"random {len(found)}"] = hashlib.sha256(made.numpy().tobytes()).hexdigest()
    return found


@pytest.mark.parametrize("isa", ISAS)
def test_every_operation_has_the_same_bits_on_every_instruction_set(isa: str) -> None:
    environment = {**os.environ, "SCHUSS_ISA": isa}
    answer = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout) == digests()


if __name__ == "__main__":
    print(json.dumps(digests()))
