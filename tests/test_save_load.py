# SPDX-License-Identifier: MIT
"""Files: what comes back, and what a file cannot do."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import schuss
from schuss import nn, optim

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
Y = np.ones((8, 2), np.float32)

ACTIVATIONS = [
    nn.ReLU(),
    nn.LeakyReLU(0.3),
    nn.ELU(0.5),
    nn.GELU("tanh"),
    nn.GELU(),
    nn.SiLU(),
    nn.Softplus(2.0, 5.0),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Softmax(dim=1),
    nn.LogSoftmax(-1),
    nn.Identity(),
    nn.Step(),
]


def outputs(model: Any) -> np.ndarray:
    return schuss.predict(model, X)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("dtype", [schuss.float32, schuss.float64])
def test_model_comes_back_with_its_bits(activation: nn.Module, dtype: Any, tmp_path: Path) -> None:
    body = nn.Sequential(nn.Linear(3, 20, dtype=dtype), activation)
    model = nn.Sequential(OrderedDict(body=body, head=nn.Linear(20, 2, bias=False, dtype=dtype)))
    schuss.save(model, tmp_path / "m.safetensors")
    back = schuss.load(tmp_path / "m.safetensors")
    assert repr(back) == repr(model)
    assert outputs(back).dtype == dtype
    assert np.array_equal(outputs(back), outputs(model))


def test_single_layer_comes_back(tmp_path: Path) -> None:
    layer = nn.Linear(3, 1)
    schuss.save(layer, tmp_path / "m")
    assert np.array_equal(outputs(schuss.load(tmp_path / "m")), outputs(layer))


def test_sharing_and_frozen_parameters_come_back(tmp_path: Path) -> None:
    shared = nn.Linear(3, 3)
    tied = nn.Linear(3, 3)
    tied.weight = shared.weight
    model = nn.Sequential(shared, nn.Tanh(), shared, tied)
    tied.bias.requires_grad = False
    schuss.save(model, tmp_path / "m")
    back = schuss.load(tmp_path / "m")
    assert back[0] is back[2]
    assert back[3].weight is back[0].weight
    assert back[3].bias is not back[0].bias
    assert [p.requires_grad for p in back.parameters()] == [True, True, False]
    assert np.array_equal(outputs(back), outputs(model))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (optim.Adam, {"amsgrad": True, "betas": (0.8, 0.95)}),
        (optim.AdamW, {}),
    ],
)
def test_training_goes_on_from_a_file_with_the_same_bits(
    kind: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    model = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 2))
    optimizer = kind(
        [{"params": model[0].parameters(), "lr": 0.02}, {"params": model[2].parameters()}],
        lr=0.1,
        **options,
    )
    fit = {"epochs": 3, "batch_size": 3}
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, seed=2**63 + 1, **fit)
    schuss.save(model, tmp_path / "m", optimizer=optimizer)
    back, back_optimizer = schuss.load(tmp_path / "m", optimizer=True)
    assert repr(back_optimizer) == repr(optimizer)
    for m, o in ((model, optimizer), (back, back_optimizer)):
        schuss.fit(m, nn.MSELoss(), o, X, Y, **fit)
    assert np.array_equal(outputs(back), outputs(model))


def test_file_is_plain_safetensors_with_pytorchs_keys(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 20), nn.ReLU())
    schuss.save(model, tmp_path / "m")
    tensors = load_file(tmp_path / "m")
    assert set(tensors) == {"0.weight", "0.bias"}
    assert np.array_equal(tensors["0.weight"], model[0].weight.numpy())
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_own_module_cannot_be_described(tmp_path: Path) -> None:
    class Own(nn.Module):
        pass

    class Linear(nn.Linear):
        pass

    for module in (Own(), nn.Sequential(Linear(1, 1))):
        with pytest.raises(TypeError, match="state_dict"):
            schuss.save(module, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_foreign_optimizer_is_refused(tmp_path: Path) -> None:
    other = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="not the model's"):
        schuss.save(nn.Linear(1, 1), tmp_path / "m", optimizer=other)


def tampered(path: Path, change: Any) -> None:
    schuss.save(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), path)
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["schuss"])
    tensors = load_file(path)
    change(header, tensors)
    save_file(tensors, path, metadata={"schuss": json.dumps(header)})


def set_in(header: dict[str, Any], *path: Any, value: Any) -> None:
    for key in path[:-1]:
        header = header[key]
    header[path[-1]] = value


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda h, t: set_in(h, "format", value=2), "format 2 is not 1"),
        (lambda h, t: set_in(h, "format", value="1"), "damaged"),
        (lambda h, t: h.pop("model"), "damaged"),
        (
            lambda h, t: set_in(h, "model", "children", 1, 1, "type", value="os.system"),
            "unknown layer 'os.system'",
        ),
        (
            lambda h, t: set_in(h, "model", "children", 0, 1, "options", "evil", value=1),
            "unknown option 'evil'",
        ),
        (lambda h, t: t.pop("0.bias"), "0.bias"),
        (lambda h, t: t.update({"0.bias": np.zeros(3, np.float32)}), "0.bias: got shape"),
        (
            lambda h, t: set_in(h, "model", "children", 0, 1, "options", "in_features", value=9),
            "0.weight: got shape",
        ),
    ],
)
def test_tampered_file_is_an_error(change: Any, text: str, tmp_path: Path) -> None:
    tampered(tmp_path / "m", change)
    with pytest.raises(ValueError, match=text):
        schuss.load(tmp_path / "m")


def test_other_arithmetic_version_warns(tmp_path: Path) -> None:
    tampered(tmp_path / "m", lambda h, t: set_in(h, "arithmetic", value=-1))
    with pytest.warns(UserWarning, match="arithmetic version -1"):
        schuss.load(tmp_path / "m")


def test_wrong_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        schuss.load(tmp_path / "none")
    (tmp_path / "text").write_text("not a model")
    with pytest.raises(ValueError, match="not a safetensors file"):
        schuss.load(tmp_path / "text")
    save_file({"a": np.zeros(1)}, tmp_path / "plain")
    with pytest.raises(ValueError, match="load_state_dict"):
        schuss.load(tmp_path / "plain")
    schuss.save(nn.Linear(1, 1), tmp_path / "m")
    with pytest.raises(ValueError, match="holds no optimizer"):
        schuss.load(tmp_path / "m", optimizer=True)


# ---- states --------------------------------------------------------------------------------------


class Own(nn.Module):
    """A module that a file cannot describe."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        mean = nn.Parameter(np.ones(3), requires_grad=False).detach()
        self.register_buffer("mean", mean)


def test_state_of_an_own_module_comes_back_from_a_file(tmp_path: Path) -> None:
    model, file = Own(), tmp_path / "state.safetensors"
    with pytest.raises(TypeError, match="state_dict"):
        schuss.save(model, file)
    schuss.save(model.state_dict(), file)
    state = schuss.load(file)
    assert set(state) == set(model.state_dict())
    other = Own()
    other.load_state_dict(state)
    assert np.array_equal(other.layer.weight.numpy(), model.layer.weight.numpy())
    assert state["mean"].dtype == np.float64


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"a": np.array(["x"])}, "a: got dtype"),
        ({1: np.ones(2)}, "got the key 1"),
        ([1.0], "expected a schuss.nn.Module or its state_dict"),
    ],
)
def test_state_that_is_none_writes_no_file(tmp_path: Path, state: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        schuss.save(state, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_optimizer_cannot_come_from_a_state(tmp_path: Path) -> None:
    model = Own()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="optimizer: a state_dict"):
        schuss.save(model.state_dict(), tmp_path / "file", optimizer=optimizer)
    schuss.save(model.state_dict(), tmp_path / "file")
    with pytest.raises(ValueError, match="damaged, or not written"):
        schuss.load(tmp_path / "file", optimizer=True)
