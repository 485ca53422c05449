# SPDX-License-Identifier: MIT
"""Ctrl-C is answered within 100 ms, whatever runs, and leaves parameters at a step boundary.

Run as a program, this file makes a long call for the tests to interrupt.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim

# Rows of which there is one in memory: calls that would take many seconds, and whose single step
# would take many too, where the batch is all rows.
LONG_ROWS = 20_000_000


def long_data() -> tuple[np.ndarray, np.ndarray]:
    row = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 16)
    return np.broadcast_to(row, (LONG_ROWS, 16)), np.broadcast_to(np.float32(1), (LONG_ROWS, 1))


def long_model() -> tuple[nn.Sequential, optim.Optimizer]:
    schuss.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 256), nn.Tanh(), nn.Linear(256, 1))
    return model, optim.Adam(model.parameters(), lr=1e-5)


def long_fit(batch_size: int | None) -> Callable[[Any, Any, Any, Any], object]:
    return lambda m, o, x, y: schuss.fit(
        m, nn.MSELoss(), o, x, y, batch_size=batch_size, shuffle=False
    )


LONG_CALLS: dict[str, Callable[[Any, Any, Any, Any], object]] = {
    "fit": long_fit(64),
    "fit shuffled": lambda m, o, x, y: schuss.fit(m, nn.MSELoss(), o, x, y, seed=1),
    "fit of one huge step": long_fit(None),
    "predict": lambda m, o, x, y: schuss.predict(m, x),
    "evaluate": lambda m, o, x, y: schuss.evaluate(m, nn.MSELoss(), x, y),
}


def main() -> None:
    """Make a long call; when Ctrl-C ends it, print the time and whether steps are whole."""
    x, y = long_data()
    model, optimizer = long_model()
    print("ready", flush=True)
    try:
        LONG_CALLS[sys.argv[1]](model, optimizer, x, y)
    except KeyboardInterrupt:
        now = time.monotonic()
    else:
        print("finished")
        return
    state = optimizer.state_dict()["state"]
    steps = state[0]["step"] if state else 0
    twin, twin_optimizer = long_model()
    if steps > 0:
        # All rows are one row, so this is the same whatever the order.
        batch = 32 if "shuffled" in sys.argv[1] else 64
        schuss.fit(
            twin,
            nn.MSELoss(),
            twin_optimizer,
            x[: steps * batch],
            y[: steps * batch],
            batch_size=batch,
            shuffle=False,
        )
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    whole = all(np.array_equal(p.numpy(), q.numpy()) for p, q in pairs)
    print(now, steps, whole)


def interrupted(call: str, tries: int = 3) -> tuple[float, int]:
    """Seconds from Ctrl-C to its exception, and the steps that were done by then.

    On a machine so busy that the signal came after the call's end it is sent once more.
    """
    with subprocess.Popen(
        [sys.executable, __file__, call], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.3)
        sent = time.monotonic()
        os.kill(child.pid, signal.SIGINT)
        words = child.stdout.read().split()
    if words == ["finished"] and tries > 1:
        return interrupted(call, tries - 1)
    assert words[-1] == "True", words
    return float(words[0]) - sent, int(words[1])


@pytest.mark.no_sanitizer
@pytest.mark.parametrize("call", LONG_CALLS)
def test_interrupt_is_answered_within_100_ms_at_a_step_boundary(call: str) -> None:
    # The clock is the promise here; the best of three leaves out what else the machine does.
    found = [interrupted(call) for _ in range(3)]
    assert min(seconds for seconds, _ in found) < 0.1
    if call.startswith("fit"):
        assert all((steps > 0) == (call != "fit of one huge step") for _, steps in found)


if __name__ == "__main__":
    main()
