# SPDX-License-Identifier: MIT
"""Gradients as results, switching history off and on, and the end of the process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn

autograd = schuss.autograd


def test_grad_of_leaves_and_results_leaves_their_own_as_it_was() -> None:
    x = schuss.tensor([1.0, 2.0], requires_grad=True)
    other = schuss.tensor(3.0, requires_grad=True)
    (x * 2).sum().backward()
    middle = x * other
    cost = (middle**2).sum()
    d_x, d_middle = autograd.grad(cost, [x, middle])
    assert d_x.tolist() == [18.0, 36.0]
    assert d_middle.tolist() == [6.0, 12.0]
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0]
    assert other.grad is None
    assert middle.grad is None


def test_grad_of_several_outputs_adds_up_and_keeps_a_graph_when_told() -> None:
    x = schuss.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * x
    first = autograd.grad([y, y * 2], x, grad_outputs=[schuss.ones(3), [1.0, 0.0, 1.0]])
    assert first[0] is not None
    assert first[0].tolist() == [6.0, 4.0, 18.0]
    z = x.exp().sum()
    once = autograd.grad(z, x, retain_graph=True)[0]
    assert once is not None
    assert autograd.grad(z, x)[0].tolist() == once.tolist()
    with pytest.raises(RuntimeError, match="freed"):
        autograd.grad(z, x)


def test_grad_reaches_a_models_parameters_and_changes_none() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = np.ones((5, 3), np.float32)
    (model(x) ** 2).mean().backward()
    expected = [parameter.grad.tolist() for parameter in model.parameters()]
    kept = [parameter.grad for parameter in model.parameters()]
    found = autograd.grad((model(x) ** 2).mean(), list(model.parameters()))
    assert [gradient.tolist() for gradient in found] == expected
    assert all(a is p.grad for a, p in zip(kept, model.parameters(), strict=True))
    assert [p.grad.tolist() for p in model.parameters()] == expected
    model.zero_grad()
    autograd.grad(model(x).sum(), model[0].weight)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_grad_refuses_what_it_cannot_give() -> None:
    x = schuss.ones(2, requires_grad=True)
    unused = schuss.ones(2, requires_grad=True)
    cost = (x * x).sum()
    with pytest.raises(RuntimeError, match="input 1; pass allow_unused"):
        autograd.grad(cost, [x, unused], retain_graph=True)
    assert autograd.grad(cost, [x, unused], retain_graph=True, allow_unused=True)[1] is None
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        autograd.grad(cost, schuss.ones(2))
    with pytest.raises(ValueError, match="create_graph: gradients of gradients"):
        autograd.grad(cost, x, create_graph=True)
    with pytest.raises(ValueError, match="create_graph: gradients of gradients"):
        cost.backward(create_graph=True)
    with pytest.raises(ValueError, match="grad_outputs: got 2; expected 1"):
        autograd.grad(cost, x, grad_outputs=[1.0, 2.0])
    with pytest.raises(TypeError, match="inputs: got str"):
        autograd.grad(cost, ["x"])  # type: ignore[list-item]
    with pytest.raises(RuntimeError, match="shape"):
        autograd.grad(x * x, x)
    assert x.grad is None


def test_detach_in_place_forgets_the_history() -> None:
    x = schuss.ones(2, requires_grad=True)
    y = (x * 2).detach_()
    assert y.is_leaf
    assert not y.requires_grad


# ---- modes ---------------------------------------------------------------------------------------


def test_modes_nest_and_come_back_after_an_error() -> None:
    assert schuss.is_grad_enabled()
    mode = schuss.no_grad()
    with mode, schuss.enable_grad():
        assert schuss.is_grad_enabled()
        with mode:  # the same object again
            assert not schuss.is_grad_enabled()
        assert schuss.is_grad_enabled()
    assert schuss.is_grad_enabled()
    with pytest.raises(KeyError), schuss.inference_mode():
        raise KeyError
    assert schuss.is_grad_enabled()
    with pytest.raises(RuntimeError, match="without having been entered"):
        schuss.no_grad().__exit__(None, None, None)


def test_modes_as_decorators_with_and_without_brackets() -> None:
    x = schuss.ones(1, requires_grad=True)

    @schuss.no_grad()
    def one(scale: float) -> Any:
        """Says what it does."""
        return x * scale

    @schuss.no_grad
    def two(scale: float) -> Any:
        return x * scale

    assert one.__doc__ == "Says what it does."
    assert not one(2.0).requires_grad
    assert not two(scale=2.0).requires_grad
    assert schuss.enable_grad()(lambda: x * 2)().requires_grad


def test_set_grad_enabled_is_a_call_and_a_block() -> None:
    with schuss.set_grad_enabled(False):
        assert not schuss.is_grad_enabled()
    assert schuss.is_grad_enabled()
    schuss.set_grad_enabled(False)
    try:
        assert not schuss.is_grad_enabled()
    finally:
        schuss.set_grad_enabled(True)
    with pytest.raises(TypeError, match="mode"):
        schuss.set_grad_enabled("no")  # type: ignore[arg-type]


# ---- the end of the process ----------------------------------------------------------------------

KEEPING = """
    import sys, threading
    import numpy as np
    import schuss
    from schuss import nn

    array = np.ones(7)
    shared = schuss.from_numpy(array)
    view = shared.numpy()[2:]
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    output = model(np.ones((4, 3), np.float32))
    held = model(schuss.ones(4, 3, requires_grad=True))
    criterion = nn.MSELoss()
    cost = criterion(output, np.zeros((4, 1), np.float32))
    graph = schuss.ones(3, requires_grad=True)
    for _ in range(1000):
        graph = graph * 1.001
    ring = [schuss.ones(2, requires_grad=True)]
    ring.append((ring[0] * 2).sum())
    ring.append(ring)
    schuss.keep = [ring, graph, cost]

    class Holder:
        def __init__(self):
            self.me = self
            self.tensor = graph + 1

        def __del__(self):
            self.tensor.sum().item()

    holder = Holder()
    local = threading.local()
    local.tensor = graph * 2
    worker = threading.Thread(target=lambda: setattr(schuss, "made", schuss.ones(5) * 2))
    worker.start()
    worker.join()
"""
ENDS = {
    "quietly": "",
    "by an error": "raise ValueError(output)",
    "by an error in a graph": "schuss.ones(2) @ cost.reshape(1)",
    "with the last error kept": """
        try:
            (graph * schuss.ones(4))
        except ValueError as error:
            sys.last_value, sys.last_traceback = error, error.__traceback__
    """,
    "by exit": "sys.exit(0)",
    "by a last step": "import atexit; atexit.register(lambda: (graph * 2).sum().backward())",
}


@pytest.mark.parametrize("end", ENDS)
def test_process_ends_well_with_tensors_and_graphs_alive(end: str) -> None:
    program = textwrap.dedent(KEEPING) + textwrap.dedent(ENDS[end])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    expected = 1 if end.startswith("by an error") else 0
    assert done.returncode == expected, done.stderr
    for word in ("Fatal", "PyThreadState", "Exception ignored", "terminate", "Segmentation"):
        assert word not in done.stderr
