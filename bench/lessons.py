# SPDX-License-Identifier: MIT
"""Time lessons written with bare tensors: schuss, PyTorch eager and JAX, in one alternating run.

    python bench/lessons.py                     # a minute or two
    python bench/lessons.py --rounds 15 --json lessons.json
    python bench/lessons.py --operations        # what single operations cost

Under schuss and PyTorch the same text runs, with `import torch` replaced. JAX runs the step that
its own tutorials would write: a jitted function of value, gradient and update, called from a Python
loop. Answers are compared first; whoever is wrong is named, not timed, and the exit status is 1.
Then all are timed in turn; the ratio is the median of the ratios within each round.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import machine

Y30 = (
    "0.94 1.98 2.88 3.92 3.96 4.55 5.64 6.3 7.44 9.1 8.46 9.5 10.67 11.16 14.0 11.83 14.4 14.25 "
    "16.2 16.32 17.46 19.8 18.0 21.34 22.0 22.5 24.57 26.04 21.6 28.8"
)
X30 = np.arange(1, 31, dtype=np.float32)
LINE = np.array(Y30.split(), np.float32)
GRID = np.linspace(-1, 1, 11, dtype=np.float32)
THERMO_X = np.array([35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4], np.float32)
THERMO_Y = np.array([0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0], np.float32)

# A run makes `steps` steps and returns what the lesson ends with.
Run = Callable[[int], list[float]]


def line_by_hand(torch: Any) -> Run:
    """Weight and bias of length 1, updated in place under no_grad, gradients zeroed in place."""
    x, y = torch.tensor(X30), torch.tensor(LINE)

    def run(steps: int) -> list[float]:
        weight = torch.zeros(1, requires_grad=True)
        bias = torch.zeros(1, requires_grad=True)
        for _ in range(steps):
            hypothesis = weight * x + bias
            cost = torch.mean((hypothesis - y) ** 2)
            cost.backward()
            with torch.no_grad():
                weight -= 0.001 * weight.grad
                bias -= 0.001 * bias.grad
            weight.grad.zero_()
            bias.grad.zero_()
        return [weight.item(), bias.item(), cost.item()]

    return run


def line_with_sgd(torch: Any) -> Run:
    """The same, with an optimizer."""
    x, y = torch.tensor(X30), torch.tensor(LINE)

    def run(steps: int) -> list[float]:
        weight = torch.zeros(1, requires_grad=True)
        bias = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.SGD([weight, bias], lr=0.001)
        for _ in range(steps):
            cost = torch.mean((weight * x + bias - y) ** 2)
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
        return [weight.item(), bias.item(), cost.item()]

    return run


def thermometer(torch: Any) -> Run:
    """One tensor of both parameters, a model and a loss that are functions."""
    x, y = torch.tensor(THERMO_X) * 0.1, torch.tensor(THERMO_Y)

    def model(t: Any, w: Any, b: Any) -> Any:
        return w * t + b

    def run(steps: int) -> list[float]:
        params = torch.tensor([1.0, 0.0], requires_grad=True)
        for _ in range(steps):
            if params.grad is not None:
                params.grad.zero_()
            loss = ((model(x, *params) - y) ** 2).mean()
            loss.backward()
            with torch.no_grad():
                params -= 1e-2 * params.grad
        return [*params.tolist(), loss.item()]

    return run


def parabola(torch: Any) -> Run:
    """One number, downhill."""

    def run(steps: int) -> list[float]:
        w = torch.tensor(5.0, requires_grad=True)
        for _ in range(steps):
            cost = (w - 1) ** 2 + 1
            cost.backward()
            with torch.no_grad():
                w -= 0.001 * w.grad
            w.grad.zero_()
        return [w.item(), cost.item()]

    return run


def logistic(torch: Any) -> Run:
    """A matrix product, a sigmoid and the cross-entropy written out."""
    x = torch.tensor(np.stack([GRID, GRID**2], axis=1))
    y = torch.tensor((GRID[:, None] > 0.1).astype(np.float32))

    def run(steps: int) -> list[float]:
        w = torch.zeros(2, 1, requires_grad=True)
        b = torch.zeros(1, requires_grad=True)
        for _ in range(steps):
            p = torch.sigmoid(x @ w + b)
            cost = -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()
            cost.backward()
            with torch.no_grad():
                w -= 0.5 * w.grad
                b -= 0.5 * b.grad
            w.grad.zero_()
            b.grad.zero_()
        return [*w.flatten().tolist(), b.item(), cost.item()]

    return run


LESSONS: dict[str, Callable[[Any], Run]] = {
    "line30, by hand": line_by_hand,
    "line30, SGD": line_with_sgd,
    "thermometer": thermometer,
    "parabola": parabola,
    "logistic": logistic,
}


def jax_run(name: str) -> Run:
    """The lesson as a jitted step, donated parameters, a Python loop around it."""
    jax = importlib.import_module("jax")
    jnp = jax.numpy
    square_loss = lambda p, x, y: jnp.mean((p[0] * x + p[1] - y) ** 2)  # noqa: E731
    zeros = (np.zeros(1, np.float32), np.zeros(1, np.float32))
    grid = np.stack([GRID, GRID**2], axis=1)
    labels = (GRID[:, None] > 0.1).astype(np.float32)

    def entropy(p: Any, x: Any, y: Any) -> Any:
        q = jax.nn.sigmoid(x @ p[0] + p[1])
        return -jnp.mean(y * jnp.log(q) + (1 - y) * jnp.log(1 - q))

    loss, start, rate, data = {
        "line30, by hand": (square_loss, zeros, 0.001, (X30, LINE)),
        "line30, SGD": (square_loss, zeros, 0.001, (X30, LINE)),
        "thermometer": (
            square_loss,
            (np.float32(1), np.float32(0)),
            1e-2,
            (THERMO_X * np.float32(0.1), THERMO_Y),
        ),
        "parabola": (lambda p, x, y: (p[0] - x) ** 2 + y, (np.float32(5),), 0.001, (1.0, 1.0)),
        "logistic": (entropy, (np.zeros((2, 1), np.float32), zeros[1]), 0.5, (grid, labels)),
    }[name]
    x, y = (jnp.asarray(value, jnp.float32) for value in data)
    value_and_grad = jax.value_and_grad(loss)

    @jax.jit
    def step(p: Any) -> Any:
        value, slopes = value_and_grad(p, x, y)
        return tuple(a - rate * b for a, b in zip(p, slopes, strict=True)), value

    def run(steps: int) -> list[float]:
        p, value = tuple(jnp.asarray(a) for a in start), jnp.float32(0)
        for _ in range(steps):
            p, value = step(p)
        return [float(v) for a in p for v in np.asarray(a).ravel()] + [float(value)]

    return run


def contenders(name: str) -> dict[str, Run]:
    """Who is installed."""
    runs = {"schuss": LESSONS[name](importlib.import_module("schuss"))}
    try:
        torch = importlib.import_module("torch")
        torch.set_num_threads(1)  # sums of a few numbers: a second thread only waits
        runs["PyTorch"] = LESSONS[name](torch)
    except ImportError:
        print("PyTorch is not installed: left out", file=sys.stderr)
    try:
        runs["JAX"] = jax_run(name)
    except ImportError:
        print("JAX is not installed: left out", file=sys.stderr)
    return runs


def wrong(runs: dict[str, Run]) -> list[str]:
    """Who differs from the first after 50 steps."""
    answers = {who: np.array(run(50)) for who, run in runs.items()}
    first = next(iter(answers.values()))
    # 50 steps, each of sums over at most thirty terms: some 100 roundings of the largest.
    allowed = 100 * 2.0**-23 * float(np.abs(first).max())
    return [who for who, a in answers.items() if not np.abs(a - first).max() <= allowed]


def seconds_of(run: Run, steps: int) -> float:
    """Of one step."""
    begin = time.perf_counter()
    run(steps)
    return (time.perf_counter() - begin) / steps


def measure(rounds: int, seconds: float) -> tuple[list[dict[str, Any]], bool]:
    """A line for each lesson, and whether every answer was right."""
    lines, good = [], True
    for name in LESSONS:
        runs = contenders(name)
        for who in wrong(runs):
            print(f"{name}: the answer of {who} is wrong; not timed", file=sys.stderr)
            del runs[who]
            good = False
        steps = {who: max(20, int(seconds / seconds_of(run, 200))) for who, run in runs.items()}
        samples: dict[str, list[float]] = {who: [] for who in runs}
        for _ in range(rounds):
            for who, run in runs.items():
                samples[who].append(seconds_of(run, steps[who]))
        own = samples.get("schuss", [])
        ratios = {
            who: statistics.median(a / b for a, b in zip(times, own, strict=True))
            for who, times in samples.items()
        }
        lines.append({"lesson": name, "seconds": samples, "ratios": ratios})
    return lines, good


def operation_costs(rounds: int) -> list[tuple[str, float]]:
    """Seconds of an operation on 30 numbers that is recorded, and of its way back."""
    schuss = importlib.import_module("schuss")
    x, w = schuss.tensor(X30), schuss.ones(1, requires_grad=True)
    a = schuss.tensor(X30, requires_grad=True)

    def without_history() -> None:
        with schuss.no_grad():
            pass

    operations: dict[str, Callable[[], Any]] = {
        "a + a": lambda: a + a,
        "w * x": lambda: w * x,
        "a ** 2": lambda: a**2,
        "a.sum()": a.sum,
        "a.mean()": a.mean,
        "exp(a)": a.exp,
        "x + x, not recorded": lambda: x + x,
        "with no_grad(): pass": without_history,
    }
    count = 2000
    costs = []
    for name, operation in operations.items():
        times = []
        for _ in range(rounds):
            begin = time.perf_counter()
            for _ in range(count):
                operation()
            times.append((time.perf_counter() - begin) / count)
        costs.append((name, statistics.median(times)))
    for depth in (1, 21):
        times = []
        for _ in range(rounds):
            roots = []
            for _ in range(200):
                y = a
                for _ in range(depth):
                    y = y * 1.5
                roots.append(y.sum())
            begin = time.perf_counter()
            for root in roots:
                root.backward()
            times.append((time.perf_counter() - begin) / 200)
        costs.append((f"backward through {depth} products and a sum", statistics.median(times)))
    return costs


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.1, help="of one sample")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--operations", action="store_true")
    options = parser.parse_args()
    if options.operations:
        for name, cost in operation_costs(options.rounds):
            print(f"{name:44} {cost * 1e6:8.3f} us")
        return 0
    lines, good = measure(options.rounds, options.seconds)
    print("| lesson | schuss | PyTorch | JAX |\n|---|---|---|---|")
    for line in lines:
        own = statistics.median(line["seconds"]["schuss"]) * 1e6
        cells = [f"{line['ratios'][who]:.1f}x" if who in line["ratios"] else "-"
                 for who in ("PyTorch", "JAX")]  # fmt: skip
        print(f"| {line['lesson']} | {own:.1f} us / step | {cells[0]} | {cells[1]} |")
    if options.json:
        report = {"machine": machine.describe(1), "lessons": lines}
        options.json.write_text(json.dumps(report, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
