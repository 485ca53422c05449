# SPDX-License-Identifier: MIT
"""JAX: a whole epoch under one `jit`, steps by `lax.scan`, parameters donated.

In order, any number of epochs is one call. Shuffled, an epoch is one call and its permutation
comes from NumPy, which draws it several times faster than `jax.random.permutation` (a sort).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

if TYPE_CHECKING:
    from cases import Case, Index, Parameters, Problem

State = list[tuple[jax.Array, jax.Array]]


def _loss(case: Case, state: State, x: jax.Array, y: jax.Array) -> jax.Array:
    for layer, (weight, bias) in enumerate(state):
        x = x @ weight + bias
        if layer < len(state) - 1:
            x = jax.nn.relu(x)
    if case.loss == "mse":
        return jnp.mean((x - y) ** 2)
    log_probability = jax.nn.log_softmax(x)
    return -jnp.mean(jnp.take_along_axis(log_probability, y[:, None], axis=1))


def _step(case: Case, state: State, x: jax.Array, y: jax.Array) -> State:
    gradient = jax.grad(functools.partial(_loss, case))(state, x, y)
    updated: State = jax.tree.map(lambda p, g: p - case.lr * g, state, gradient)
    return updated


def _epoch(case: Case, state: State, X: jax.Array, y: jax.Array, order: jax.Array | None) -> State:
    batch = case.batch_rows
    whole = case.n_rows // batch
    full = whole * batch

    def step(carry: State, rows: tuple[jax.Array, jax.Array]) -> tuple[State, None]:
        return _step(case, carry, *rows), None

    def gathered(carry: State, rows: jax.Array) -> tuple[State, None]:
        return _step(case, carry, X[rows], y[rows]), None

    if order is None:
        if whole == 1:
            state = _step(case, state, X[:full], y[:full])
        else:
            split = (
                X[:full].reshape(whole, batch, -1),
                y[:full].reshape(whole, batch, *y.shape[1:]),
            )
            state, _ = lax.scan(step, state, split)
        if full < case.n_rows:
            state = _step(case, state, X[full:], y[full:])
    else:
        state, _ = lax.scan(gathered, state, order[:full].reshape(whole, batch))
        if full < case.n_rows:
            state = _step(case, state, X[order[full:]], y[order[full:]])
    return state


class JaxScan:
    """A jitted epoch on all cores (XLA's CPU client has no thread count to set in a process)."""

    name = "JAX scan"
    same_algorithm = True

    def __init__(self, problem: Problem, shuffled: bool, threads: int) -> None:
        del threads
        case = problem.case
        self.case = case
        self.shuffled = shuffled
        self.rng = np.random.default_rng(0)
        self.X = jnp.asarray(problem.X)
        self.y = jnp.asarray(problem.y if case.loss == "mse" else problem.y.astype(np.int32))
        self.state: State = [
            (jnp.asarray(np.ascontiguousarray(w.T)), jnp.asarray(b)) for w, b in problem.weights
        ]
        one: Callable[..., State] = functools.partial(_epoch, case)
        if case.models > 1:
            self.state = jax.tree.map(lambda p: jnp.stack([p] * case.models), self.state)
            one = jax.vmap(one, in_axes=(0, None, None, 0 if shuffled else None))

        def epochs_in_order(state: State, X: jax.Array, y: jax.Array, epochs: jax.Array) -> State:
            def body(_: jax.Array, carry: State) -> State:
                return one(carry, X, y, None)

            result: State = lax.fori_loop(0, epochs, body, state)
            return result

        self.in_order = jax.jit(epochs_in_order, donate_argnums=0)
        self.by_order = jax.jit(one, donate_argnums=0)
        # The first call compiles; the second shows what it would have cost without. Both work on a
        # copy of the state, which the calls consume.
        kept = jax.tree.map(lambda p: np.array(p, copy=True), self.state)
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            self.train(1)
            seconds.append(time.perf_counter() - start)
        self.compile_seconds: float | None = max(0.0, seconds[0] - seconds[1])
        self.state = jax.tree.map(lambda p: jnp.array(p, copy=True), kept)

    def _permutation(self) -> jax.Array:
        shape = (self.case.models, self.case.n_rows)
        if self.case.models == 1:
            return jnp.asarray(self.rng.permutation(self.case.n_rows).astype(np.int32))
        rows = np.broadcast_to(np.arange(self.case.n_rows, dtype=np.int32), shape)
        return jnp.asarray(self.rng.permuted(rows, axis=1))

    def train(self, epochs: int) -> None:
        """Train all models; see `cases.Contender`."""
        if self.shuffled:
            for _ in range(epochs):
                self.state = self.by_order(self.state, self.X, self.y, self._permutation())
        else:
            self.state = self.in_order(self.state, self.X, self.y, epochs)
        for leaf in jax.tree.leaves(self.state):
            leaf.block_until_ready()

    def answer(self, order: Index) -> Parameters:
        """Return the parameters after an epoch; see `cases.Contender`."""
        if self.shuffled:
            rows = np.stack([order] * self.case.models) if self.case.models > 1 else order
            self.state = self.by_order(
                self.state, self.X, self.y, jnp.asarray(rows.astype(np.int32))
            )
        else:
            self.state = self.in_order(self.state, self.X, self.y, 1)
        found = [np.asarray(p, dtype=np.float64) for pair in self.state for p in pair]
        if self.case.models > 1:
            found = [p[0] for p in found]
        return [p.T if i % 2 == 0 else p for i, p in enumerate(found)]
