# SPDX-License-Identifier: MIT
# ruff: noqa: D103 - the name of a test is its sentence
"""Micro benchmarks of the pieces, with pytest-benchmark.

pytest bench/test_micro.py --benchmark-sort=name
pytest bench/test_micro.py --benchmark-disable     # each body once: a smoke test

Each checks that its answer is right before or after it is timed; none asserts a time.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import schuss
from cases import CASES, Problem, make_problem
from peers_schuss import Schuss, SchussLoop, make_criterion, make_model
from reference import EPS
from schuss import nn, optim
from schuss.nn import functional

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

LINE30_EPOCHS = 1000
LINE30_AFTER_1000 = (0.864258, -0.138465)  # weight, bias; PyTorch in float64 printed these digits


def problem_of(name: str, n_rows: int) -> Problem:
    """Make the problem of a case, on so many rows at most."""
    return make_problem(next(case for case in CASES if case.name == name).with_rows(n_rows))


def assert_finite(contender: Schuss) -> None:
    """Check that what was timed did not run on NaN or infinity."""
    for values in contender.models[0].state_dict().values():
        assert np.isfinite(np.asarray(values)).all()


@pytest.mark.parametrize("name", ["line30", "tiny", "digits", "mnist"])
def test_forward_one_batch(benchmark: BenchmarkFixture, name: str) -> None:
    problem = problem_of(name, 128)
    model = make_model(problem)
    x = problem.X[: problem.case.batch_rows]
    output = benchmark(model, x)
    assert output.shape == (len(x), problem.case.layers[-1])


@pytest.mark.parametrize("name", ["line30", "tiny", "digits", "mnist"])
def test_step_one_batch(benchmark: BenchmarkFixture, name: str) -> None:
    problem = problem_of(name, 128)
    model, criterion = make_model(problem), make_criterion(problem.case)
    optimizer = optim.SGD(model.parameters(), lr=problem.case.lr)
    rows = problem.case.batch_rows
    x, y = problem.X[:rows], problem.y[:rows]

    def step() -> float:
        optimizer.zero_grad()
        cost = criterion(model(x), y)
        cost.backward()
        optimizer.step()
        value: float = cost.item()
        return value

    first = step()
    benchmark(step)
    assert step() < first


@pytest.mark.parametrize("name", ["line30", "tiny"])
def test_loop_step_by_step(benchmark: BenchmarkFixture, name: str) -> None:
    contender = SchussLoop(problem_of(name, 1024), shuffled=False, threads=1)
    benchmark(contender.train, 1)
    assert_finite(contender)


@pytest.mark.parametrize("name", ["line30", "tiny"])
def test_fit_one_epoch(benchmark: BenchmarkFixture, name: str) -> None:
    contender = Schuss(problem_of(name, 1024), shuffled=False, threads=1)
    benchmark(contender.train, 1)
    assert_finite(contender)


@pytest.mark.parametrize("dead", [False, True])
def test_momentum_step_of_dead_units(benchmark: BenchmarkFixture, dead: bool) -> None:
    """5,000 steps on, units that no input reaches cost what living ones do."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((32, 64)).astype(np.float32)
    y = rng.standard_normal((32, 1)).astype(np.float32)
    model = schuss.nn.Sequential(
        schuss.nn.Linear(64, 256), schuss.nn.ReLU(), schuss.nn.Linear(256, 1)
    )
    optimizer = optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    criterion = nn.MSELoss()
    options = {"batch_size": None, "seed": 0}
    schuss.fit(model, criterion, optimizer, x, y, epochs=5, **options)
    if dead:
        model[0].bias.numpy()[::2] = -1000.0
    schuss.fit(model, criterion, optimizer, x, y, epochs=5000, **options)
    benchmark(schuss.fit, model, criterion, optimizer, x, y, epochs=100, **options)
    buffer = optimizer.state_dict()["state"][0]["momentum_buffer"]
    assert (not buffer[::2].any()) == dead


def test_fit_line30_1000_epochs(benchmark: BenchmarkFixture) -> None:
    problem = problem_of("line30", 30)
    contender = Schuss(problem, shuffled=False, threads=1)
    model = contender.models[0]
    start = {
        "0.weight": np.zeros((1, 1), dtype=np.float32),
        "0.bias": np.zeros(1, dtype=np.float32),
    }
    model.load_state_dict(start)
    contender.train(LINE30_EPOCHS)
    weight, bias = (np.asarray(p).item() for p in model.state_dict().values())
    # In each epoch rounding moves the gradient by at most 30 * eps * mean |2 * residual * x|, below
    # 30 * eps * 20 near the line; 1000 epochs at a rate of 1e-3 add these once. The printed digits
    # add half of their last.
    allowed = 30 * EPS * 20 + 5e-7
    assert weight == pytest.approx(LINE30_AFTER_1000[0], abs=allowed)
    assert bias == pytest.approx(LINE30_AFTER_1000[1], abs=allowed)
    benchmark(contender.train, LINE30_EPOCHS)


@pytest.mark.parametrize("size", [48, 96, 192, 384, 768, 1024])
def test_product_square(benchmark: BenchmarkFixture, size: int) -> None:
    rng = np.random.default_rng(size)
    # Small integers: every product and sum is exact in float32, so the answers must be equal.
    x = rng.integers(-4, 5, (size, size)).astype(np.float32)
    weight = rng.integers(-4, 5, (size, size)).astype(np.float32)
    output = benchmark(functional.linear, x, weight)
    assert np.array_equal(np.asarray(output), x @ weight.T)
    if benchmark.stats is not None:  # None when timing is disabled
        benchmark.extra_info["gflops"] = 2e-9 * size**3 / benchmark.stats.stats.median


@pytest.mark.parametrize("name", ["line30", "tiny", "mnist"])
def test_predict(benchmark: BenchmarkFixture, name: str) -> None:
    problem = problem_of(name, 10_000)
    model = make_model(problem)
    output = benchmark(schuss.predict, model, problem.X)
    assert np.asarray(output).shape == (len(problem.X), problem.case.layers[-1])


@pytest.mark.parametrize("modules", ["numpy", "numpy, schuss"])
def test_import_in_a_fresh_process(benchmark: BenchmarkFixture, modules: str) -> None:
    def run() -> int:
        return subprocess.run([sys.executable, "-c", f"import {modules}"], check=True).returncode

    assert benchmark(run) == 0
