# SPDX-License-Identifier: MIT
"""Modules: structure, state, copies, losses' options, initialisation, functions."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import schuss
from schuss import nn, optim

RNG = np.random.default_rng(5)
X = RNG.standard_normal((7, 3)).astype(np.float32)


def net() -> nn.Sequential:
    schuss.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def same(a: schuss.Tensor | np.ndarray, b: schuss.Tensor | np.ndarray) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


# ---- structure -----------------------------------------------------------------------------------


def test_state_dict_keys_are_pytorchs_and_arrays_independent() -> None:
    model = nn.Sequential(OrderedDict(encoder=net(), head=nn.Linear(2, 5, bias=False)))
    state = model.state_dict()
    assert list(state) == [
        "encoder.0.weight",
        "encoder.0.bias",
        "encoder.2.weight",
        "encoder.2.bias",
        "head.weight",
    ]
    assert state["encoder.0.weight"].shape == (4, 3)
    assert all(a.flags.c_contiguous and a.flags.owndata for a in state.values())
    state["head.weight"][:] = 7.0
    assert not (model.head.weight.numpy() == 7.0).any()


def test_view_taken_before_nesting_writes_through() -> None:
    inner = net()
    view = inner[0].weight.numpy()
    model = nn.Sequential(inner, nn.ReLU())
    view[:] = 0.0
    assert same(model[0][0].weight, np.zeros((4, 3)))


def test_optimizer_built_before_nesting_trains() -> None:
    inner = net()
    optimizer = optim.SGD(inner.parameters(), lr=0.5)
    model = nn.Sequential(inner, nn.Tanh())
    before = inner.state_dict()
    nn.MSELoss()(model(X), np.ones((7, 2))).backward()
    optimizer.step()
    assert not same(before["0.weight"], inner[0].weight)


def test_shared_layer_accumulates_the_gradients_of_both_uses() -> None:
    shared = nn.Linear(3, 3, dtype=schuss.float64)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    assert len(list(model.parameters())) == 2
    assert len(model.state_dict()) == 4
    assert schuss.gradcheck(model, nn.MSELoss(), X, np.ones((7, 3)))


def test_two_models_share_an_encoder() -> None:
    encoder = nn.Linear(3, 2)
    one, two = nn.Sequential(encoder, nn.ReLU()), nn.Sequential(encoder, nn.Tanh())
    one[0].weight.zero_()
    one[0].bias.zero_()
    assert same(two(X), np.zeros((7, 2)))


def test_sequential_is_a_list_of_modules() -> None:
    model = net()
    assert len(model) == 3
    assert [type(m).__name__ for m in model] == ["Linear", "Tanh", "Linear"]
    assert model[-1] is model[2]
    assert len(model[:2]) == 2
    assert model[:1][0] is model[0]
    model.insert(1, nn.ReLU())
    assert [name for name, _ in model.named_children()] == ["0", "1", "2", "3"]
    assert isinstance(model.pop(1), nn.ReLU)
    model[1] = nn.Sigmoid()
    model.append(nn.Identity()).extend([nn.Tanh()])
    del model[3:]
    assert [type(m).__name__ for m in model] == ["Linear", "Sigmoid", "Linear"]
    with pytest.raises(IndexError, match="there are 3"):
        model[3]
    with pytest.raises(TypeError, match="got str; expected a module"):
        model.append("ReLU")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.append(nn.Tanh()),
        lambda m: m.insert(0, nn.Tanh()),
        lambda m: m.__setitem__(1, nn.ReLU()),
        lambda m: m.pop(1),
        lambda m: setattr(m[0], "bias", None),
        lambda m: setattr(m[0], "weight", nn.Linear(3, 4).weight),
    ],
)
def test_structural_change_takes_effect_at_the_next_call(change: object) -> None:
    model = net()
    before = model(X).numpy().copy()
    change(model)  # type: ignore[operator]
    after = model(X)
    assert not same(before, after)
    x: object = X
    for layer in model:
        x = layer(x)
    assert same(after, x)


def test_layer_that_takes_a_freed_ones_place_is_used() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    for _ in range(20):  # memory, and with it identity, of a freed layer is soon used again
        model(X)
        model.pop(0)
        model.append(nn.Linear(3, 4))
        assert same(model(X), model[0](X))


def test_emptied_inner_model_reaches_the_outer_one() -> None:
    inner = nn.Sequential(nn.Linear(3, 4))
    outer = nn.Sequential(inner)
    assert outer(X).shape == (7, 4)
    del inner[:]
    assert same(outer(X), X)


def test_change_of_an_activations_option_takes_effect() -> None:
    layer = nn.LeakyReLU(0.1)
    model = nn.Sequential(layer)
    assert model([[-1.0]]).item() == np.float32(-0.1)
    layer.negative_slope = 0.5
    assert model([[-1.0]]).item() == -0.5


def test_change_inside_a_nested_model_reaches_the_outer_one() -> None:
    inner = nn.Sequential(nn.Linear(3, 2))
    outer = nn.Sequential(inner)
    assert outer(X).shape == (7, 2)
    inner.append(nn.Linear(2, 5))
    assert outer(X).shape == (7, 5)


def test_widths_that_do_not_fit_are_named() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2))
    with pytest.raises(ValueError, match=r"layer 1 \(Linear\(5, 2\)\).*layer 0 \(Linear\(3, 4\)\)"):
        model(X)


def test_module_cannot_contain_itself() -> None:
    model = net()
    with pytest.raises(ValueError, match="cannot contain itself"):
        model.append(model)


def test_attribute_before_init_says_what_to_do() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Early()


def test_own_forward_is_called_inside_a_sequential() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 2)

        def forward(self, x: schuss.Tensor) -> schuss.Tensor:
            return self.inner(x)

    model = nn.Sequential(nn.Linear(3, 4), Own())
    cost = nn.MSELoss()(model(X), np.zeros((7, 2)))
    cost.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.inner.weight", "1.inner.bias"]


def test_subclass_of_sequential_with_its_own_forward_is_called() -> None:
    class Twice(nn.Sequential):
        def forward(self, x: schuss.Tensor) -> schuss.Tensor:
            return super().forward(super().forward(x))

    model = Twice(nn.Linear(3, 3))
    assert same(model(X), model[0](model[0](X)))


def test_train_and_eval_reach_every_module() -> None:
    model = nn.Sequential(net())
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    model.train()
    assert all(m.training for m in model.modules())


def test_requires_grad_reaches_every_parameter() -> None:
    model = net().requires_grad_(False)
    assert not any(p.requires_grad for p in model.parameters())
    assert not model(X).requires_grad


def test_zero_grad_drops_or_fills() -> None:
    model = net()
    nn.MSELoss()(model(X), np.zeros((7, 2))).backward()
    model.zero_grad(set_to_none=False)
    assert all(same(p.grad, np.zeros(p.shape)) for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_repr_shows_the_tree() -> None:
    assert repr(nn.Sequential(nn.Linear(3, 4), nn.GELU("tanh"))) == (
        "Sequential(\n"
        "  (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "  (1): GELU(approximate='tanh')\n"
        ")"
    )


# ---- loading -------------------------------------------------------------------------------------


def test_load_state_dict_copies_in_place() -> None:
    source, target = net(), nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    view = target[0].weight.numpy()
    result = target.load_state_dict(source.state_dict())
    assert result.missing_keys == []
    assert result.unexpected_keys == []
    assert same(view, source[0].weight)
    assert same(target(X), source(X))


@pytest.mark.parametrize(
    ("key", "value", "error", "text"),
    [
        ("2.bias", None, ValueError, "missing keys"),
        ("3.bias", np.zeros(2), ValueError, "unexpected keys"),
        ("2.bias", np.zeros(3), ValueError, r"2.bias: got shape \(3,\); expected \(2,\)"),
        ("2.bias", np.array(["a", "b"]), TypeError, "2.bias: got dtype"),
        ("2.bias", np.zeros(2, complex), TypeError, "2.bias: got dtype complex128"),
        ("2.bias", np.array([1e300, 0.0]), ValueError, "overflows float32"),
    ],
)
def test_load_state_dict_that_does_not_fit_changes_nothing(
    key: str, value: object, error: type[Exception], text: str
) -> None:
    model = net()
    before = model.state_dict()
    state: dict[str, object] = {name: np.ones_like(a) for name, a in before.items()}
    if value is None:
        del state[key]
    else:
        state[key] = value
    with pytest.raises(error, match=text):
        model.load_state_dict(state)
    assert all(same(before[name], after) for name, after in model.state_dict().items())


def test_load_state_dict_not_strict_takes_what_fits() -> None:
    model = net()
    result = model.load_state_dict({"2.bias": [1.0, 2.0], "other": 0}, strict=False)
    assert result.unexpected_keys == ["other"]
    assert "0.weight" in result.missing_keys
    assert model[2].bias.tolist() == [1.0, 2.0]


# ---- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copy_of_a_model_is_equal_and_apart(duplicate: object) -> None:
    model = net()
    model[0].weight.requires_grad = False
    model.eval()
    twin = duplicate(model)  # type: ignore[operator]
    assert same(model(X), twin(X))
    assert not twin.training
    assert not twin[0].weight.requires_grad
    twin[0].weight.zero_()
    assert model[0].weight.numpy().any()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("optimizer_first", [False, True])
def test_copy_of_model_and_optimizer_keeps_their_links(
    duplicate: object, optimizer_first: bool
) -> None:
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss = nn.MSELoss()

    def step(m: nn.Sequential, o: optim.Optimizer) -> None:
        o.zero_grad()
        loss(m(X), np.ones((7, 2))).backward()
        o.step()

    step(model, optimizer)
    pair = (optimizer, model) if optimizer_first else (model, optimizer)
    twin_pair = duplicate(pair)  # type: ignore[operator]
    twin, twin_optimizer = twin_pair[::-1] if optimizer_first else twin_pair
    for _ in range(3):
        step(model, optimizer)
        step(twin, twin_optimizer)
    assert all(same(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (2, 3), (40, 30)])
def test_copy_of_a_layer_keeps_its_layout(shape: tuple[int, int]) -> None:
    layer = nn.Linear(shape[1], shape[0])
    twin = pickle.loads(pickle.dumps(layer))
    x = RNG.standard_normal((4, shape[1]))
    assert twin.weight.numpy().strides == layer.weight.numpy().strides
    assert same(layer(x), twin(x))


def test_copy_keeps_sharing() -> None:
    shared = nn.Linear(3, 3)
    twin = copy.deepcopy(nn.Sequential(shared, nn.Tanh(), shared))
    assert twin[0] is twin[2]


def test_shared_weight_survives_a_copy() -> None:
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    two.weight = one.weight
    twin_one, twin_two = copy.deepcopy((one, two))
    assert twin_one.weight is twin_two.weight
    assert same(twin_two(X), two(X))


def test_copy_of_a_loss_keeps_its_options() -> None:
    loss = nn.CrossEntropyLoss(weight=[1.0, 2.0], label_smoothing=0.1)
    twin = pickle.loads(pickle.dumps(loss))
    logits, labels = RNG.standard_normal((4, 2)), [0, 1, 1, 0]
    assert twin(logits, labels).item() == loss(logits, labels).item()


# ---- construction --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nn.Linear(0, 1), ValueError, "in_features: got 0"),
        (lambda: nn.Linear(1, -1), ValueError, "out_features: got -1"),
        (lambda: nn.Linear(1.5, 1), TypeError, "in_features: got float"),
        (lambda: nn.Linear(True, 1), TypeError, "in_features: got True"),
        (lambda: nn.Linear(2**40, 2**40), ValueError, "memory"),
        (lambda: nn.Linear(1, 1, bias=1), TypeError, "bias: got int 1"),
        (lambda: nn.Linear(1, 1, device="cuda"), ValueError, "device: got 'cuda'"),
        (lambda: nn.Linear(1, 1, dtype="float16"), TypeError, "dtype: got 'float16'"),
        (lambda: nn.Linear(1, 1, dtype=int), TypeError, "dtype"),
        (lambda: nn.Linear(1, 1, biass=True), TypeError, "unknown option 'biass'.*in_features"),
        (lambda: nn.GELU("exact"), ValueError, "approximate: got 'exact'"),
        (lambda: nn.ELU(alpha=float("nan")), ValueError, "alpha: got nan"),
        (lambda: nn.Softplus(beta=0), ValueError, "beta: got 0.0"),
        (lambda: nn.Softmax(dim=0.5), TypeError, "dim: got"),
        (lambda: nn.LeakyReLU(slope=1), TypeError, "unknown option 'slope'"),
        (lambda: nn.MSELoss(reduction="avg"), ValueError, 'reduction: got "avg"'),
        (lambda: nn.MSELoss(reduction=None), TypeError, "reduction: got NoneType"),
        (lambda: nn.MSELoss(size_average=True), ValueError, "use reduction="),
        (lambda: nn.L1Loss(reduce=False), ValueError, "use reduction="),
        (lambda: nn.HuberLoss(delta=0.0), ValueError, "delta: got 0"),
        (lambda: nn.HuberLoss(detla=1.0), TypeError, "unknown option 'detla'.*reduction, delta"),
        (lambda: nn.SmoothL1Loss(beta=-1), ValueError, "beta: got -1"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=1.5), ValueError, "label_smoothing: got 1.5"),
        (lambda: nn.CrossEntropyLoss(weight=[1.0, -1.0]), ValueError, "weight: got -1"),
        (lambda: nn.CrossEntropyLoss(ignore_index=0.5), TypeError, "ignore_index: got float"),
        (lambda: nn.BCEWithLogitsLoss(pos_weight=[np.nan]), ValueError, "pos_weight: got"),
    ],
)
def test_wrong_option_is_an_error_at_construction(
    make: object, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make()  # type: ignore[operator]


def test_foreign_parameter_as_weight_says_how_to_copy() -> None:
    layer = nn.Linear(30, 20)
    with pytest.raises(TypeError, match=r"layer.weight.data = parameter"):
        layer.weight = schuss.Parameter(np.zeros((20, 30)))
    with pytest.raises(TypeError, match=r"layer.weight.data = values"):
        layer.weight = np.zeros((20, 30))  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"got shape \(30, 20\); expected \(20, 30\)"):
        layer.weight = nn.Linear(20, 30).weight


def test_to_refuses_what_there_is_not() -> None:
    model = net()
    assert model.to("cpu") is model
    assert model.to(dtype=schuss.float32) is model
    with pytest.raises(ValueError, match="device: got 'cuda'"):
        model.to("cuda")


def test_assigned_loss_option_takes_effect_and_is_checked() -> None:
    loss = nn.HuberLoss()
    loss.delta = 2.0
    assert float(loss([5.0], [0.0])) == 8.0
    with pytest.raises(ValueError, match="delta"):
        loss.delta = -1.0
    assert loss.delta == 2.0
    loss.reduction = "sum"
    assert float(loss([5.0, 5.0], [0.0, 0.0])) == 16.0
