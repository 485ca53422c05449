# SPDX-License-Identifier: MIT
"""Modules of one's own: attributes, buffers, lists and dictionaries, conversion, copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim
from schuss.nn import functional as F  # noqa: N812  (PyTorch's custom)

RNG = np.random.default_rng(11)
X = RNG.standard_normal((12, 3))
Y = RNG.standard_normal((12, 2))


def tensor(values: Any) -> schuss.Tensor:
    return schuss.tensor(values, dtype=schuss.float32)


class Net(nn.Module):
    """Two layers, called as attributes."""

    def __init__(self, hidden: int = 5, dtype: Any = None) -> None:
        super().__init__()
        self.hidden = hidden
        self.fc1 = nn.Linear(3, hidden, dtype=dtype)
        self.fc2 = nn.Linear(hidden, 2, dtype=dtype)

    def forward(self, x: Any) -> schuss.Tensor:
        return self.fc2(F.relu(self.fc1(x)))


class Scaled(nn.Module):
    """A layer and two buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", tensor([1.0, 2.0, 3.0]))
        self.register_buffer("last", tensor([0.0]), persistent=False)
        self.register_buffer("absent", None)
        self.layer = nn.Linear(3, 1)


def train(model: nn.Module, optimizer: optim.Optimizer, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        cost = F.mse_loss(model(X), Y)
        cost.backward()
        optimizer.step()
        losses.append(cost.item())
    return losses


# ---- training ------------------------------------------------------------------------------------


def test_own_module_trains_with_the_bits_of_the_same_sequential() -> None:
    own = Net(dtype=schuss.float64)
    plain = nn.Sequential(copy.deepcopy(own.fc1), nn.ReLU(), copy.deepcopy(own.fc2))
    one = train(own, optim.SGD(own.parameters(), lr=0.1, momentum=0.9), 30)
    two = train(plain, optim.SGD(plain.parameters(), lr=0.1, momentum=0.9), 30)
    assert one == two
    assert one[-1] < one[0]
    assert np.array_equal(own.fc1.weight.numpy(), plain[0].weight.numpy())


def test_two_calls_of_one_layer_give_it_both_gradients() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3, dtype=schuss.float64)

        def forward(self, x: Any) -> schuss.Tensor:
            return self.layer(F.tanh(self.layer(x)))

    assert schuss.gradcheck(Twice(), nn.MSELoss(), X, np.ones((12, 3)))


# ---- attributes ----------------------------------------------------------------------------------


def test_plain_attributes_may_come_before_init_but_modules_may_not() -> None:
    class Early(nn.Module):
        def __init__(self, what: Any) -> None:
            self.value = what
            super().__init__()

    assert Early(3).value == 3
    for what, text in [(nn.ReLU(), "a module"), (nn.Parameter(np.ones(1)), "a parameter")]:
        with pytest.raises(AttributeError, match=rf"cannot assign {text} .*super\(\).__init__\(\)"):
            Early(what)


def test_module_that_never_called_init_says_so() -> None:
    class Forgot(nn.Module):
        def __init__(self) -> None:
            self.size = 3

    for use in (
        lambda m: list(m.parameters()),
        lambda m: m.train(),
        repr,
        lambda m: m.state_dict(),
    ):
        with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\) first in .*Forgot"):
            use(Forgot())
    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Forgot().register_parameter("weight", None)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda m: setattr(m.fc1, "weight", np.ones((5, 3))), TypeError, r"weight.data = values"),
        (lambda m: setattr(m, "fc1", 3), TypeError, "fc1: got int; expected a module or None"),
        (lambda m: setattr(m, "mean", np.ones(3)), TypeError, "mean: got numpy.ndarray"),
        (lambda m: m.register_buffer("extra", [1.0]), TypeError, "extra: got list"),
        (lambda m: m.register_buffer("forward", None), KeyError, "exists already"),
        (lambda m: m.register_buffer("a.b", None), ValueError, "without dots"),
        (lambda m: m.add_module("", nn.ReLU()), ValueError, "not empty"),
        (lambda m: m.add_module("act", F.relu), TypeError, "expected a module"),
        (lambda m: m.register_module("hidden", nn.ReLU()), KeyError, "exists already"),
        (lambda m: m.register_forward_hook(print), AttributeError, "there are no hooks"),
        (lambda m: m.get_submodule("fc3"), AttributeError, "has no module 'fc3'"),
        (lambda m: m.get_parameter("fc1.scale"), AttributeError, "has no parameter 'scale'"),
        (lambda m: m.get_buffer("fc1.mean"), AttributeError, "has no buffer 'mean'"),
        (lambda m: m.nothing, AttributeError, "has no attribute 'nothing'"),
        (lambda m: delattr(m, "nothing"), AttributeError, "nothing"),
    ],
)
def test_wrong_attribute_is_an_error_that_changes_nothing(
    change: Callable[[Any], Any], error: type[Exception], text: str
) -> None:
    model = Net()
    model.register_buffer("mean", tensor([0.0]))
    before = repr(model), list(model.state_dict())
    with pytest.raises(error, match=text):
        change(model)
    assert (repr(model), list(model.state_dict())) == before


def test_parameter_in_place_of_a_plain_attribute_is_found() -> None:
    model = Net()
    model.scale = 3.0
    model.scale = nn.Parameter(np.ones(2))
    assert "scale" in dict(model.named_parameters())
    assert {"scale", "fc1", "hidden"} <= set(dir(model))
    del model.scale
    assert not hasattr(model, "scale")
    assert len(list(model.parameters())) == 4


def test_plain_attribute_in_forward_keeps_the_plans() -> None:
    model = Net()
    model(X)
    version = nn.module.Structure.version
    model.calls = 1
    assert nn.module.Structure.version == version


def test_unused_layer_set_to_none_is_gone() -> None:
    model = Net()
    model.fc2 = None
    assert model.fc2 is None
    assert [name for name, _ in model.named_children()] == ["fc1"]


def test_get_reaches_by_dotted_path() -> None:
    model = nn.Sequential(Net(), Scaled())
    assert model.get_submodule("0.fc1") is model[0].fc1
    assert model.get_parameter("0.fc1.bias") is model[0].fc1.bias
    assert model.get_buffer("1.mean").tolist() == [1.0, 2.0, 3.0]


def test_apply_and_requires_grad_reach_what_is_inside() -> None:
    model = Net()
    seen: list[str] = []
    assert model.apply(lambda m: seen.append(type(m).__name__)) is model
    assert seen == ["Linear", "Linear", "Net"]
    model.fc1.requires_grad_(False)
    train(model, optim.SGD(model.parameters(), lr=0.1), 1)
    assert model.fc1.weight.grad is None
    assert model.fc2.weight.grad is not None


# ---- buffers -------------------------------------------------------------------------------------


def test_buffers_are_state_and_no_parameters() -> None:
    model = nn.Sequential(Scaled())
    assert [name for name, _ in model.named_buffers()] == ["0.mean", "0.last"]
    assert len(list(model.buffers())) == 2
    assert list(model.state_dict()) == ["0.mean", "0.layer.weight", "0.layer.bias"]
    assert len(list(model.parameters())) == 2


def test_loading_writes_into_buffers_in_place() -> None:
    model = Scaled()
    view = model.mean.numpy()
    model.load_state_dict({**model.state_dict(), "mean": [7.0, 8.0, 9.0]})
    assert view.tolist() == [7.0, 8.0, 9.0]
    with pytest.raises(ValueError, match=r"mean: got shape \(2,\); expected \(3,\)"):
        model.load_state_dict({**model.state_dict(), "mean": [7.0, 8.0]})


def test_integer_buffer_is_state_and_keeps_its_dtype() -> None:
    model = Scaled()
    model.register_buffer("count", schuss.tensor([3]))
    other = Scaled()
    other.register_buffer("count", schuss.tensor([0]))
    other.load_state_dict(model.state_dict())
    assert other.count.tolist() == [3]
    assert other.double().count.dtype == np.int64
    assert other.mean.dtype == np.float64


def test_assigned_tensor_stays_a_buffer() -> None:
    model = Scaled()
    model.mean = tensor([0.0, 0.0, 0.0])
    assert "mean" in model.state_dict()
    del model.mean
    assert "mean" not in model.state_dict()


# ---- lists and dictionaries ----------------------------------------------------------------------


def test_module_list_is_a_list() -> None:
    layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    layers.append(nn.ReLU()).extend([nn.Tanh()])
    layers += [nn.Sigmoid()]
    layers.insert(1, nn.Identity())
    names = ["Linear", "Identity", "Linear", "ReLU", "Tanh", "Sigmoid"]
    assert [type(m).__name__ for m in layers] == names
    assert [name for name, _ in layers.named_children()] == ["0", "1", "2", "3", "4", "5"]
    assert layers[-1] is layers[5]
    assert isinstance(layers[1:3], nn.ModuleList)
    assert layers[0] in layers
    del layers[3:]
    assert isinstance(layers.pop(), nn.Linear)
    layers[1] = nn.GELU()
    assert [type(m).__name__ for m in layers] == ["Linear", "GELU"]
    assert len(layers + layers) == 4
    with pytest.raises(IndexError, match="got 2; there are 2"):
        layers[2]
    with pytest.raises(TypeError, match="got function; expected a module"):
        layers.append(F.relu)
    with pytest.raises(NotImplementedError, match="does not define forward"):
        layers(X)


def test_model_made_of_a_module_list_trains() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)])

        def forward(self, x: Any) -> Any:
            for layer in self.layers[:-1]:
                x = F.tanh(layer(x))
            return self.layers[-1](x)

    schuss.manual_seed(0)
    model = Deep()
    assert "layers.2.bias" in model.state_dict()
    losses = train(model, optim.Adam(model.parameters(), lr=0.05), 60)
    assert losses[-1] < 0.5 * losses[0]


def test_module_dict_is_a_dictionary() -> None:
    heads = nn.ModuleDict({"a": nn.Linear(2, 1)})
    heads["b"] = nn.ReLU()
    heads.update([("c", nn.Tanh())])
    assert list(heads) == heads.keys() == ["a", "b", "c"]
    assert [type(m).__name__ for m in heads.values()] == ["Linear", "ReLU", "Tanh"]
    assert dict(heads.items())["b"] is heads["b"]
    assert "b" in heads
    assert isinstance(heads.pop("b"), nn.ReLU)
    del heads["c"]
    assert list(heads.state_dict()) == ["a.weight", "a.bias"]
    with pytest.raises(KeyError, match="exists already"):
        heads["keys"] = nn.ReLU()
    heads.clear()
    assert len(heads) == 0


def test_parameter_list_and_dictionary_hold_parameters() -> None:
    weights = nn.ParameterList([tensor([1.0])])
    weights.append(nn.Parameter(np.ones(2)))
    assert [p.shape for p in weights] == [(1,), (2,)]
    assert repr(weights).count("Parameter of") == 2
    named = nn.ParameterDict({"x": nn.Parameter(np.ones(2)), "y": tensor([3.0])})
    assert list(named.state_dict()) == ["x", "y"]
    assert all(isinstance(p, nn.Parameter) for p in [*weights, *named.values()])
    with pytest.raises(TypeError, match=r"expected a schuss\.Parameter"):
        weights.append([1.0])


def test_flatten_makes_rows() -> None:
    images = RNG.standard_normal((5, 3, 4))
    assert nn.Flatten()(images).shape == (5, 12)
    assert nn.Flatten(0, 1)(images).shape == (15, 4)
    assert nn.Flatten()(X) is X
    with pytest.raises(IndexError, match="end_dim: got 5 for 3 dimensions"):
        nn.Flatten(1, 5)(images)
    with pytest.raises(ValueError, match="start not after the end"):
        nn.Flatten(2, 1)(images)


# ---- printing ------------------------------------------------------------------------------------


def modules_of(library: Any) -> list[Any]:
    """The same modules in either library."""
    lib = library

    class Pair(lib.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first = lib.Linear(2, 2)
            self.blocks = lib.ModuleList([lib.ReLU(), lib.ReLU(), lib.Sequential(lib.Tanh())])
            self.heads = lib.ModuleDict({"a": lib.Linear(2, 1), "b": lib.Identity()})

        def extra_repr(self) -> str:
            return "size=2"

    return [Pair(), lib.ModuleList(), lib.ModuleDict(), lib.Sequential(), lib.Flatten()]


@pytest.mark.torch
def test_modules_print_as_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    for own, theirs in zip(modules_of(nn), modules_of(torch.nn), strict=True):
        assert repr(own) == repr(theirs)


@pytest.mark.torch
def test_state_dict_keys_and_order_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")

    def build(lib: Any, make: Callable[[Any], Any]) -> list[str]:
        class Own(lib.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("count", make([0.0]))
                self.inner = lib.ModuleList([lib.Linear(2, 2), lib.Linear(2, 2)])
                self.gain = lib.Parameter(make([1.0]))
                self.inner.append(self.inner[0])

        return list(Own().state_dict())

    assert build(nn, tensor) == build(torch.nn, torch.tensor)


# ---- conversion and copies -----------------------------------------------------------------------


def test_conversion_replaces_what_is_float_and_keeps_sharing() -> None:
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.Tanh(), shared, Net())
    model[3].register_buffer("mean", tensor([1.0]))
    shared.bias.requires_grad = False
    before = model.state_dict()
    assert model.double() is model
    assert {p.dtype.name for p in model.parameters()} == {"float64"}
    assert model[3].mean.dtype == np.float64
    assert model[0] is model[2]
    assert not shared.bias.requires_grad
    assert all(np.array_equal(before[name], a) for name, a in model.state_dict().items())
    train(model, optim.SGD(model.parameters(), lr=0.1), 2)
    assert model(X).dtype == np.float64


def test_conversion_refuses_what_would_be_a_surprise() -> None:
    model = Net(dtype=schuss.float64)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match=r"fc1.weight .* an optimizer holds it"):
        model.float()
    del optimizer
    with np.errstate(over="ignore"):
        model.fc2.weight.data = np.full((2, 5), 1e300)
    with pytest.raises(ValueError, match=r"fc2\.weight: a finite value overflows float32"):
        model.float()
    assert model.fc1.weight.dtype == np.float64
    for wrong in (lambda: model.to("cpu", np.float16), lambda: model.to(dtype=int)):
        with pytest.raises(TypeError, match="dtype: got"):
            wrong()
    with pytest.raises(TypeError, match="unknown option 'memory'"):
        model.to(memory=1)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copy_of_an_own_module_is_equal_and_apart(duplicate: Callable[[Any], Any]) -> None:
    model = Net()
    model.note = ["kept"]
    model.register_buffer("mean", schuss.tensor([1.0, 2.0]))
    twin = duplicate(model)
    assert twin.note == ["kept"]
    assert twin.note is not model.note
    assert np.array_equal(model(X).numpy(), twin(X).numpy())
    with schuss.no_grad():
        twin.fc1.weight.zero_()
        twin.mean.zero_()
    assert model.fc1.weight.numpy().any()
    assert model.mean.tolist() == [1.0, 2.0]


# ---- initialisation ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fill",
    [
        lambda t: nn.init.uniform_(t, -1, 1, generator=3),
        lambda t: nn.init.normal_(t, 2, 0.5, generator=3),
        lambda t: nn.init.xavier_normal_(t, generator=3),
        lambda t: nn.init.kaiming_uniform_(t, generator=3),
        lambda t: nn.init.constant_(t, 7),
    ],
)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_bare_tensor_starts_with_the_bits_of_a_parameter(fill: Any, requires_grad: bool) -> None:
    bare = schuss.zeros(4, 3, requires_grad=requires_grad)
    like = fill(nn.Parameter(np.zeros((4, 3), np.float32)))
    assert fill(bare) is bare
    assert np.array_equal(bare.detach().numpy(), like.numpy())


def test_initialisation_takes_tensors_of_floating_numbers() -> None:
    with pytest.raises(TypeError, match="tensor: got dtype int64"):
        nn.init.zeros_(schuss.tensor([1]))
    with pytest.raises(TypeError, match=r"expected a schuss\.Parameter or Tensor"):
        nn.init.zeros_(np.zeros(2))  # type: ignore[type-var]
