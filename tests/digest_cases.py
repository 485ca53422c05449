# SPDX-License-Identifier: MIT
"""The cases of tests/data/digest_cases.txt through the public API.

tests/cpp/digest_cases.hpp says the same in C++. Every number is k / 2**m for an integer k of 12
bits, a hash of (stream, place), so that each language makes the same ones exactly.

Run as a program, this file reads a JSON list of [name, threads, layout] and prints the digests of
those trainings as JSON; the instruction set is SCHUSS_ISA's.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import schuss
from schuss import _schuss, nn, optim

DATA = Path(__file__).parent / "data"
CASES_FILE = DATA / "digest_cases.txt"
DIGESTS_FILE = DATA / "digests.txt"
DIGITS = 24

# ---- numbers -------------------------------------------------------------------------------------

FEATURES, TARGETS, WEIGHTS, POS_WEIGHTS, PARAMETERS = 1, 2, 3, 4, 16


def numbers(stream: int, count: int) -> np.ndarray:
    """Integers 0..4095: the top bits of SplitMix64's finaliser."""
    start = np.uint64(stream * 0x9E3779B97F4A7C15 % 2**64)
    z = start + np.arange(count, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(52)).astype(np.int64)


# ---- cases ---------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A line of the file."""

    name: str
    values: dict[str, str]

    def integer(self, key: str, otherwise: int) -> int:
        return int(self.values.get(key, otherwise))

    @property
    def dtype(self) -> Any:
        return np.float64 if self.values["dtype"] == "f64" else np.float32

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.values["x"].split("x")
        return int(rows), int(cols)

    @property
    def batch(self) -> int | None:
        return None if self.values["batch"] == "all" else int(self.values["batch"])


@cache
def cases() -> dict[str, Case]:
    found = {}
    for line in CASES_FILE.read_text().splitlines():
        if line and not line.startswith("#"):
            name, *words = line.split()
            assert name not in found, f"{name}: twice"
            found[name] = Case(name, dict(word.split("=", 1) for word in words))
    return found


@cache
def stored() -> dict[str, list[str]]:
    lines = DIGESTS_FILE.read_text().splitlines()
    return {words[0]: words[1:] for words in map(str.split, lines) if words[0] != "#"}


def features(case: Case) -> np.ndarray:
    rows, cols = case.shape
    k = numbers(FEATURES, rows * cols).reshape(rows, cols) - 2048
    return (k / 2.0**10).astype(case.dtype)


def targets(case: Case, outs: int) -> np.ndarray:
    rows, kind = case.shape[0], case.values["y"]
    if kind.startswith("label"):
        k = numbers(TARGETS, rows)
        return np.where(k < 512, -100, k % outs) if kind == "label_ignored" else k % outs
    k = numbers(TARGETS, rows * outs).reshape(rows, outs)
    values = {"real": (k - 2048) / 2.0**10, "binary": k // 2048, "shares": k / 2.0**12}[kind]
    return values.astype(case.dtype)


def probes(case: Case, x: np.ndarray) -> np.ndarray:
    """The first 300 rows, then rows in which one element each is special."""
    limits = np.finfo(case.dtype)
    special = [np.nan, np.inf, -np.inf, -0.0, limits.smallest_subnormal, limits.max, -limits.tiny]
    rows, cols = case.shape
    extra = x[np.arange(7) % rows].copy()
    for s, value in enumerate(special):
        extra[s, s * 5 % cols] = value
    return np.concatenate([x[:300], extra])


ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "step": nn.Step,
    "softmax": lambda: nn.Softmax(dim=1),
    "log_softmax": lambda: nn.LogSoftmax(dim=1),
}
LOSSES: dict[str, Callable[..., nn.Module]] = {
    "mse": nn.MSELoss,
    "l1": nn.L1Loss,
    "huber": nn.HuberLoss,
    "smooth_l1": nn.SmoothL1Loss,
    "bce": nn.BCELoss,
    "bce_with_logits": nn.BCEWithLogitsLoss,
    "cross_entropy": nn.CrossEntropyLoss,
    "nll": nn.NLLLoss,
}
OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
}


def set_values(parameter: Any, stream: int, exponent: int) -> None:
    k = numbers(stream, parameter.numpy().size).reshape(parameter.shape) - 2048
    parameter.copy_((k / 2.0**exponent).astype(parameter.dtype))


def model_of(case: Case) -> nn.Sequential:
    layers: list[nn.Module] = []
    stream = PARAMETERS
    for text in case.values["net"].split(","):
        name, *arguments = text.split(":")
        if name.startswith("@"):
            layers.append(layers[int(name[1:])])
        elif name == "linear":
            n_in, n_out = map(int, arguments[:2])
            layer = nn.Linear(n_in, n_out, bias="nobias" not in arguments, dtype=case.dtype)
            exponent = next(e for e in range(32) if 4**e >= n_in)
            set_values(layer.weight, stream, 11 + exponent)
            stream += 1
            if layer.bias is not None:
                set_values(layer.bias, stream, 14)
                stream += 1
            for parameter in layer.parameters():
                parameter.requires_grad = "frozen" not in arguments
            layers.append(layer)
        else:
            layers.append(ACTIVATIONS[name](*map(float, arguments)))
    return nn.Sequential(*layers)


def outputs_of(case: Case) -> int:
    """The width of the last dense layer."""
    layers = [text.split(":") for text in case.values["net"].split(",")]
    last = [i for i, words in enumerate(layers) if words[0] == "linear" or words[0][0] == "@"][-1]
    words = layers[last]
    return int((layers[int(words[0][1:])] if words[0][0] == "@" else words)[2])


def loss_of(case: Case, outs: int) -> nn.Module:
    name, *words = case.values["loss"].split(",")
    options: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key == "sum":
            options["reduction"] = "sum"
        elif key in ("weight", "pos_weight"):
            stream = WEIGHTS if key == "weight" else POS_WEIGHTS
            options[key] = (1 + numbers(stream, outs) % 8) / 4.0
        elif key == "a":
            options["delta" if name == "huber" else "beta"] = float(value)
        else:
            options[key] = int(value) if key == "ignore_index" else float(value)
    return LOSSES[name](**options)


def optimizer_of(case: Case, model: nn.Module) -> optim.Optimizer:
    name, *words = case.values["opt"].split(",")
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        options[key] = float(value) if equals else True
    # The core's default; the class's is another.
    options.setdefault("weight_decay", 0.0)
    if name != "sgd":
        options["betas"] = (options.pop("beta1", 0.9), options.pop("beta2", 0.999))
    return OPTIMIZERS[name](model.parameters(), **options)


# ---- layouts of the data -------------------------------------------------------------------------


def misaligned(array: np.ndarray) -> np.ndarray:
    """The same values, an odd number of bytes after a multiple of 64."""
    raw = np.empty(array.nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64 + 13
    view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def mapped(array: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "array.npy", array)
        return np.load(Path(folder) / "array.npy", mmap_mode="r")


def other_dtype(array: np.ndarray) -> np.ndarray:
    """float64 that holds float32 values, and the other way round."""
    other = {"float32": np.float64, "float64": np.float32, "int64": np.int16}[array.dtype.name]
    return array.astype(other)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "aligned": np.ascontiguousarray,
    "misaligned": misaligned,
    "Fortran": np.asfortranarray,
    "mapped": mapped,
    "other dtype": other_dtype,
}

# ---- runs ----------------------------------------------------------------------------------------


def digest(*arrays: np.ndarray) -> str:
    """Of values and signs of zero; every NaN as one."""
    found = hashlib.sha256()
    for array in arrays:
        plain = np.array(array, order="C")
        plain[np.isnan(plain)] = np.nan
        found.update(plain.astype(plain.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()[:DIGITS]


class Run(NamedTuple):
    model: nn.Module
    digests: list[str]


def fit_options(case: Case) -> dict[str, Any]:
    return {
        "batch_size": case.batch,
        "shuffle": bool(case.integer("shuffle", 1)),
        "drop_last": bool(case.integer("drop_last", 0)),
        "seed": case.integer("seed", 11),
    }


def parameters_of(model: nn.Module) -> list[np.ndarray]:
    return [np.array(parameter.numpy()) for parameter in model.parameters()]


def run_case(case: Case, threads: int = 1, layout: str = "aligned") -> Run:
    model = model_of(case)
    outs = outputs_of(case)
    loss = loss_of(case, outs)
    plain = features(case)
    x, y = LAYOUTS[layout](plain), LAYOUTS[layout](targets(case, outs))
    history = schuss.fit(
        model, loss, optimizer_of(case, model), x, y, **fit_options(case), num_threads=threads,
        epochs=case.integer("epochs", 2), shards=case.integer("shards", 1),
    )  # fmt: skip
    evaluated = schuss.evaluate(model, loss, x, y)["loss"]
    predicted = schuss.predict(model, probes(case, plain))
    digests = [
        digest(*parameters_of(model)),
        digest(np.array([*history.loss, evaluated])),
        digest(predicted),
    ]
    return Run(model, digests)


def main() -> None:
    _schuss.testing.set_work_per_thread(1.0)  # the smallest step is shared
    wanted = json.loads(sys.stdin.read())
    found = [run_case(cases()[name], threads, layout).digests for name, threads, layout in wanted]
    print(json.dumps({"isa": schuss.info()["isa"], "digests": found}))


if __name__ == "__main__":
    main()
