# SPDX-License-Identifier: MIT
"""What holds for every shape, dtype, layout, batch size and number of threads.

Hypothesis picks them. Most of these are equalities of bits: the order of operations depends on
widths and dtype alone.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import schuss
from schuss import nn, optim

ACTIVATIONS = [
    nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Sigmoid, nn.Tanh,
    nn.Step, nn.Softmax, nn.LogSoftmax,
]  # fmt: skip
EPS = {np.float32: 2.0**-24, np.float64: 2.0**-53}  # the relative error of a rounding

dtypes = st.sampled_from(list(EPS))
sizes = st.integers(1, 20) | st.sampled_from([4, 5, 16, 17, 31, 33, 48, 49, 64, 65])
seeds = st.integers(0, 2**32 - 1)


@dataclass
class Task:
    """A model's widths, its data, and the loss that fits them."""

    widths: list[int]
    activation: Any
    bias: bool
    dtype: Any
    rows: int
    loss: str
    seed: int

    def model(self) -> nn.Sequential:
        schuss.manual_seed(self.seed)
        modules: list[nn.Module] = []
        for n_in, n_out in zip(self.widths[:-1], self.widths[1:], strict=True):
            modules += [nn.Linear(n_in, n_out, bias=self.bias, dtype=self.dtype), self.activation()]
        return nn.Sequential(*modules[:-1])

    def criterion(self, reduction: str = "mean") -> nn.Module:
        if self.loss == "CrossEntropyLoss":
            return nn.CrossEntropyLoss(reduction=reduction, label_smoothing=0.1)
        return getattr(nn, self.loss)(reduction=reduction)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.rows, self.widths[0])).astype(self.dtype)
        if self.loss == "CrossEntropyLoss":
            return x, rng.integers(0, self.widths[-1], self.rows)
        return x, rng.uniform(0, 1, (self.rows, self.widths[-1])).astype(self.dtype)


tasks = st.builds(
    Task,
    widths=st.lists(sizes, min_size=2, max_size=4),
    activation=st.sampled_from(ACTIVATIONS),
    bias=st.booleans(),
    dtype=dtypes,
    rows=st.integers(1, 40) | st.sampled_from([255, 256, 257, 600]),
    loss=st.sampled_from(["MSELoss", "HuberLoss", "BCEWithLogitsLoss", "CrossEntropyLoss"]),
    seed=seeds,
)
optimizers = st.sampled_from(
    [
        (optim.SGD, {"lr": 0.05}),
        (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        (optim.SGD, {"lr": 0.05, "momentum": 0.8, "dampening": 0.2, "maximize": True}),
        (optim.Adam, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.01}),
        (optim.AdamW, {"lr": 0.01, "betas": (0.7, 0.9)}),
    ]
)
batch_sizes = st.none() | st.integers(1, 64) | st.just(300)


def all_bits(model: nn.Module, optimizer: optim.Optimizer | None = None) -> list[bytes]:
    """Parameters, and what the optimizer keeps of each."""
    found = [value.tobytes() for value in model.state_dict().values()]
    if optimizer is not None:
        for state in optimizer.state_dict()["state"].values():
            found += [np.asarray(state[name]).tobytes() for name in sorted(state)]
    return found


def gradients(model: nn.Module) -> list[bytes]:
    return [p.grad.numpy().tobytes() for p in model.parameters()]


# ---- training ------------------------------------------------------------------------------------


@given(tasks, optimizers, batch_sizes, st.booleans(), st.booleans(), st.integers(1, 3))
@settings(max_examples=400)
def test_steps_by_hand_and_fit_give_equal_bits(
    task: Task, kind: Any, batch_size: int | None, shuffle: bool, drop_last: bool, epochs: int
) -> None:
    assume(not (drop_last and batch_size is not None and batch_size > task.rows))
    make, options = kind
    x, y = task.data()
    one, two = task.model(), task.model()
    first, second = make(one.parameters(), **options), make(two.parameters(), **options)
    criterion = task.criterion()
    loader = schuss.DataLoader(
        x, y, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, seed=task.seed
    )
    means = []
    for _ in range(epochs):
        total, count = 0.0, 0
        for xb, yb in loader:
            cost = criterion(one(xb), yb)
            first.zero_grad()
            cost.backward()
            first.step()
            total += cost.item() * len(xb)
            count += len(xb)
        means.append(total / count)
    history = schuss.fit(
        two, criterion, second, x, y, epochs=epochs, batch_size=batch_size, shuffle=shuffle,
        drop_last=drop_last, seed=task.seed,
    )  # fmt: skip
    assert all_bits(one, first) == all_bits(two, second)
    # The mean over an epoch is summed here in another order: as many roundings as batches.
    bound = 2 * (len(loader) + 2) * 2.0**-53
    np.testing.assert_allclose(history.loss, means, rtol=bound)


@given(tasks, optimizers, st.integers(1, 3), st.integers(1, 3), st.booleans())
@settings(max_examples=100)
def test_training_pickled_between_epochs_gives_the_bits_of_one_run(
    task: Task, kind: Any, before: int, after: int, shuffle: bool
) -> None:
    make, options = kind
    x, y = task.data()
    common: dict[str, Any] = {"batch_size": 16, "shuffle": shuffle, "seed": task.seed}
    one = task.model()
    whole = make(one.parameters(), **options)
    schuss.fit(one, task.criterion(), whole, x, y, epochs=before + after, **common)
    two = task.model()
    part = make(two.parameters(), **options)
    schuss.fit(two, task.criterion(), part, x, y, epochs=before, **common)
    two, part = pickle.loads(pickle.dumps((two, part)))
    schuss.fit(two, task.criterion(), part, x, y, epochs=after, **common)
    assert all_bits(one, whole) == all_bits(two, part)


@given(tasks, optimizers, batch_sizes, st.integers(2, 5))
@settings(max_examples=100)
def test_threads_do_not_change_a_bit(
    task: Task, kind: Any, batch_size: int | None, threads: int
) -> None:
    make, options = kind
    x, y = task.data()
    found = []
    for count in (1, threads):
        model = task.model()
        optimizer = make(model.parameters(), **options)
        history = schuss.fit(
            model, task.criterion(), optimizer, x, y, epochs=2, batch_size=batch_size,
            seed=task.seed, num_threads=count,
        )  # fmt: skip
        found.append((all_bits(model, optimizer), history.loss))
    assert found[0] == found[1]


def test_threads_do_not_change_a_bit_of_work_worth_sharing() -> None:
    """Wide layers and more rows than a chunk: large enough that every thread gets a part."""
    task = Task([300, 200, 3], nn.Tanh, True, np.float32, 3000, "CrossEntropyLoss", 7)
    x, y = task.data()
    for batch_size in (None, 1000, 64):
        found = []
        for threads in (1, 2, 3):
            model = task.model()
            optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            history = schuss.fit(
                model, task.criterion(), optimizer, x, y, epochs=1, batch_size=batch_size,
                seed=1, num_threads=threads,
            )  # fmt: skip
            found.append((all_bits(model, optimizer), history.loss))
        assert found[0] == found[1] == found[2]


@given(tasks, st.data())
@settings(max_examples=60)
def test_layout_and_dtype_of_the_data_do_not_change_a_bit(task: Task, data: st.DataObject) -> None:
    """Any steps, axis order, offset in bytes and byte order, and wider dtypes of equal values."""
    x, y = task.data()
    name = data.draw(st.sampled_from(["f2", "i1", "i8", "f4", "f8"]))
    x = np.clip(np.round(x * 8), -100, 100).astype(name).astype(task.dtype)  # exact in all of them
    dtype = np.dtype(name).newbyteorder(data.draw(st.sampled_from("<>")))
    row_step, column_step = data.draw(st.tuples(*[st.sampled_from([-2, -1, 1, 3])] * 2))
    order, offset = data.draw(st.sampled_from("CF")), data.draw(st.integers(0, 7))
    rows, cols = x.shape
    shape = rows * abs(row_step), cols * abs(column_step)
    raw = np.zeros(shape[0] * shape[1] * dtype.itemsize + offset, np.uint8)
    other = raw[offset:].view(dtype).reshape(shape, order=order)[::row_step, ::column_step]
    other[...] = x
    one, two = task.model(), task.model()
    for model, values in ((one, x), (two, other)):
        optimizer = optim.SGD(model.parameters(), lr=1e-4)
        schuss.fit(model, task.criterion(), optimizer, values, y, batch_size=8, seed=1)
    assert all_bits(one) == all_bits(two)
    assert schuss.predict(one, x).tobytes() == schuss.predict(one, other).tobytes()
    assert one(other).numpy().tobytes() == one(x).numpy().tobytes()


@given(st.integers(1, 500), batch_sizes, st.booleans(), st.booleans(), seeds)
def test_an_epoch_takes_every_row_once(
    n: int, batch_size: int | None, shuffle: bool, drop_last: bool, seed: int
) -> None:
    loader = schuss.DataLoader(
        np.arange(n), batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, seed=seed
    )
    epochs = [list(loader), list(loader)]
    size = n if batch_size is None else batch_size
    for batches in epochs:
        assert len(batches) == len(loader) == (n // size if drop_last else -(-n // size))
        assert all(len(batch) == size for batch in batches[:-1])
        seen = np.concatenate([np.empty(0, int), *batches])
        assert len(np.unique(seen)) == len(seen) == (n // size * size if drop_last else n)
        if not shuffle:
            np.testing.assert_array_equal(seen, np.arange(len(seen)))


# ---- predictions ---------------------------------------------------------------------------------


@given(tasks, st.data())
@settings(max_examples=200)
def test_prediction_of_a_row_does_not_depend_on_the_others(task: Task, data: st.DataObject) -> None:
    x, _ = task.data()
    model = task.model()
    whole = model(x).numpy()
    assert schuss.predict(model, x).tobytes() == whole.tobytes()
    rows = data.draw(st.lists(st.integers(0, task.rows - 1), min_size=1, max_size=40))
    assert schuss.predict(model, x[rows]).tobytes() == whole[rows].tobytes()
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, task.rows)] * 2)))
    if first < last:
        assert model(x[first:last]).numpy().tobytes() == whole[first:last].tobytes()


@given(tasks, st.randoms(use_true_random=False))
def test_permuted_outputs_of_a_layer_are_its_outputs_permuted(task: Task, random: Any) -> None:
    """An output's bits depend on its own weights only, not on where in the layer it stands."""
    x, _ = task.data()
    n_in, n_out = task.widths[:2]
    order = list(range(n_out))
    random.shuffle(order)
    layer = nn.Linear(n_in, n_out, dtype=task.dtype)
    other = nn.Linear(n_in, n_out, dtype=task.dtype)
    other.weight.copy_(layer.weight.numpy()[order])
    other.bias.copy_(layer.bias.numpy()[order])
    assert other(x).numpy().tobytes() == layer(x).numpy()[:, order].tobytes()


# ---- losses and gradients ------------------------------------------------------------------------


def loss_gradient(criterion: nn.Module, prediction: np.ndarray, y: np.ndarray, upstream: Any):
    given_values = schuss.Parameter(prediction)
    cost = criterion(given_values, y)
    cost.backward(upstream)
    return cost.numpy(), given_values.grad.numpy()


@given(tasks)
def test_reductions_of_a_loss_agree(task: Task) -> None:
    x, y = task.data()
    prediction = task.model()(x).numpy()
    values, plain = loss_gradient(
        task.criterion("none"), prediction, y, np.ones_like(task.criterion("none")(prediction, y))
    )
    total, d_total = loss_gradient(task.criterion("sum"), prediction, y, None)
    mean, d_mean = loss_gradient(task.criterion("mean"), prediction, y, None)
    eps = EPS[task.dtype]
    # Rows are summed in float64 and rounded once; a row's columns in lanes of the dtype.
    roundings = task.widths[-1] + 4
    exact = values.astype(np.float64).sum()
    size = np.abs(values.astype(np.float64)).sum()
    assert abs(float(total) - exact) <= roundings * eps * size
    assert abs(float(mean) - exact / values.size) <= roundings * eps * size / values.size
    # An upstream gradient of 1 is exact, 1 / n and its product are two roundings.
    np.testing.assert_array_equal(plain, d_total)
    tiny = np.finfo(task.dtype).tiny
    np.testing.assert_allclose(d_mean, d_total / values.size, rtol=4 * eps, atol=tiny)


@given(tasks, st.randoms(use_true_random=False))
def test_permuted_rows_have_permuted_losses(task: Task, random: Any) -> None:
    x, y = task.data()
    prediction = task.model()(x).numpy()
    order = list(range(task.rows))
    random.shuffle(order)
    upstream = np.random.default_rng(0).standard_normal(task.criterion("none")(prediction, y).shape)
    values, d = loss_gradient(task.criterion("none"), prediction, y, upstream)
    permuted, d_permuted = loss_gradient(
        task.criterion("none"), prediction[order], y[order], upstream[order]
    )
    assert permuted.tobytes() == values[order].tobytes()
    assert d_permuted.tobytes() == d[order].tobytes()


@given(tasks, st.integers(0, 40))
def test_gradients_accumulate(task: Task, cut: int) -> None:
    """Two backward passes leave the sum of what each leaves alone, rounded once."""
    assume(0 < cut < task.rows)
    x, y = task.data()
    model, criterion = task.model(), task.criterion("sum")
    parts = []
    for rows in (slice(0, cut), slice(cut, None)):
        model.zero_grad()
        criterion(model(x[rows]), y[rows]).backward()
        parts.append([p.grad.numpy().copy() for p in model.parameters()])
    model.zero_grad()
    for rows in (slice(0, cut), slice(cut, None)):
        criterion(model(x[rows]), y[rows]).backward()
    for p, first, second in zip(model.parameters(), *parts, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), first + second)


@given(tasks, st.integers(-3, 3))
def test_gradient_scales_with_a_power_of_two(task: Task, exponent: int) -> None:
    """Scaling by a power of two rounds nothing away, so it may happen before or after."""
    x, y = task.data()
    model, criterion = task.model(), task.criterion("sum")
    criterion(model(x), y).backward()
    plain = [p.grad.numpy().copy() for p in model.parameters()]
    model.zero_grad()
    (criterion(model(x), y) * 2.0**exponent).backward()
    limit = 256 * np.finfo(task.dtype).tiny  # below it digits are lost
    for p, d in zip(model.parameters(), plain, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), d * 2.0**exponent, rtol=0, atol=limit)


@given(tasks)
def test_gradients_through_a_split_model_are_the_models(task: Task) -> None:
    """Two halves called one after the other record the history that the whole model records."""
    assume(len(task.widths) > 2)
    x, y = task.data()
    model = task.model()
    criterion = task.criterion()
    criterion(model(x), y).backward()
    whole = gradients(model)
    model.zero_grad()
    halves = nn.Sequential(*list(model)[:2]), nn.Sequential(*list(model)[2:])
    criterion(halves[1](halves[0](x)), y).backward()
    assert gradients(model) == whole
