# SPDX-License-Identifier: MIT
"""Operations on tensors that several test files go through: (function of module and tensors, how
to draw the operands). Every function runs under schuss and under torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Case(NamedTuple):
    """One operation; operands are drawn from low..high and kept `apart` from kinks."""

    run: Callable[..., Any]
    shapes: tuple[Shape, ...] = ((3, 4),)
    low: float = -2.0
    high: float = 2.0
    kinks: tuple[float, ...] = ()


POSITIVE = {"low": 0.3, "high": 3.0}
BROADCASTS: tuple[tuple[Shape, Shape], ...] = (
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((3, 4), (3, 1)),
    ((3, 1), (4,)),
    ((), (2, 3)),
    ((1,), (30, 1)),
    ((2, 3, 4), (3, 1)),
    ((1, 1), (5,)),
    ((300, 3), (3,)),
    ((600, 1), (1,)),
)


def _pairs() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for number, shapes in enumerate(BROADCASTS):
        cases[f"add-{number}"] = Case(lambda m, a, b: a + b, shapes)
        cases[f"sub-{number}"] = Case(lambda m, a, b: a - b, shapes)
        cases[f"mul-{number}"] = Case(lambda m, a, b: a * b, shapes)
        cases[f"div-{number}"] = Case(lambda m, a, b: a / b, shapes, **POSITIVE)
        cases[f"pow-{number}"] = Case(lambda m, a, b: a**b, shapes, **POSITIVE)
        cases[f"maximum-{number}"] = Case(lambda m, a, b: m.maximum(a, b), shapes)
        cases[f"minimum-{number}"] = Case(lambda m, a, b: m.minimum(a, b), shapes)
        cases[f"remainder-{number}"] = Case(lambda m, a, b: a % b, shapes, 2.1, 2.9)
        cases[f"fmod-{number}"] = Case(lambda m, a, b: m.fmod(-3 * a, b), shapes, 2.1, 2.4)
        cases[f"where-{number}"] = Case(lambda m, a, b: m.where(a.detach() > 0.5, a, b), shapes)
    return cases


def _linear(m: Any, *operands: Any) -> Any:
    return m.nn.functional.linear(*operands)


def _index(key: Any) -> Callable[..., Any]:
    return lambda m, a: a[key]


CASES: dict[str, Case] = {
    **_pairs(),
    "neg": Case(lambda m, a: -a),
    "abs": Case(lambda m, a: abs(a), kinks=(0.0,)),
    "exp": Case(lambda m, a: m.exp(a)),
    "expm1": Case(lambda m, a: m.expm1(a)),
    "log": Case(lambda m, a: m.log(a), **POSITIVE),
    "log1p": Case(lambda m, a: m.log1p(a), **POSITIVE),
    "sqrt": Case(lambda m, a: m.sqrt(a), **POSITIVE),
    "square": Case(lambda m, a: m.square(a)),
    "reciprocal": Case(lambda m, a: m.reciprocal(a), **POSITIVE),
    "erf": Case(lambda m, a: m.erf(a)),
    "sin": Case(lambda m, a: m.sin(3 * a)),
    "cos": Case(lambda m, a: a.cos() * 2, ((300, 3),)),
    "tan": Case(lambda m, a: m.tan(a), low=-1.2, high=1.2),
    "log2": Case(lambda m, a: m.log2(a), **POSITIVE),
    "log10": Case(lambda m, a: m.log10(a), **POSITIVE),
    "rsqrt": Case(lambda m, a: m.rsqrt(a), **POSITIVE),
    "floor": Case(lambda m, a: m.floor(a) * a, kinks=(-1.0, 0.0, 1.0)),
    "ceil": Case(lambda m, a: m.ceil(a) * a, kinks=(-1.0, 0.0, 1.0)),
    "trunc": Case(lambda m, a: m.trunc(a) * a, kinks=(-1.0, 0.0, 1.0)),
    "round": Case(lambda m, a: m.round(a) * a, kinks=(-1.5, -0.5, 0.5, 1.5)),
    "sign": Case(lambda m, a: m.sign(a) * a, kinks=(0.0,)),
    "a % number": Case(lambda m, a: a % 0.7, kinks=(-1.4, -0.7, 0.0, 0.7, 1.4)),
    "falling remainder": Case(lambda m, a: (5 - a) % a, low=1.8, high=2.3),
    "a // number": Case(lambda m, a: a.detach() // 0.7 + a, kinks=(-1.4, -0.7, 0.0, 0.7, 1.4)),
    "power 2": Case(lambda m, a: a**2),
    "power 3": Case(lambda m, a: a**3),
    "power 7": Case(lambda m, a: a**7),
    "power -1": Case(lambda m, a: a**-1, **POSITIVE),
    "power -2": Case(lambda m, a: a**-2, **POSITIVE),
    "power 0": Case(lambda m, a: a**0),
    "power 1": Case(lambda m, a: a**1),
    "power 0.5": Case(lambda m, a: a**0.5, **POSITIVE),
    "power -0.5": Case(lambda m, a: a**-0.5, **POSITIVE),
    "power 2.3": Case(lambda m, a: a**2.3, **POSITIVE),
    "power of 2": Case(lambda m, a: 2**a),
    "number - a": Case(lambda m, a: 1.5 - a),
    "number / a": Case(lambda m, a: 3 / a, **POSITIVE),
    "a / number": Case(lambda m, a: a / 3),
    "clamp": Case(lambda m, a: a.clamp(-0.5, 0.7), kinks=(-0.5, 0.7)),
    "clamp min": Case(lambda m, a: m.clamp(a, min=0.2), kinks=(0.2,)),
    "relu": Case(lambda m, a: m.relu(a), kinks=(0.0,)),
    "sigmoid": Case(lambda m, a: m.sigmoid(a), ((2, 3, 4),)),
    "tanh": Case(lambda m, a: m.tanh(a), ((5,),)),
    "softmax last": Case(lambda m, a: m.softmax(a, dim=1)),
    "softmax first": Case(lambda m, a: m.softmax(a, dim=0)),
    "softmax middle": Case(lambda m, a: a.softmax(1), ((2, 5, 3),)),
    "softmax vector": Case(lambda m, a: a.softmax(0), ((7,),)),
    "log_softmax last": Case(lambda m, a: m.log_softmax(a, dim=-1)),
    "log_softmax first": Case(lambda m, a: m.log_softmax(a, dim=0), ((4, 1),)),
    "sum": Case(lambda m, a: a.sum()),
    "sum 0": Case(lambda m, a: a.sum(dim=0), ((300, 3),)),
    "sum 1": Case(lambda m, a: a.sum(1, keepdim=True), ((3, 300),)),
    "sum many rows": Case(lambda m, a: a.sum(dim=0), ((600, 2),)),
    "sum middle": Case(lambda m, a: a.sum(dim=1), ((2, 5, 3),)),
    "sum outer": Case(lambda m, a: a.sum(dim=(0, 2)), ((2, 5, 3),)),
    "sum first two": Case(lambda m, a: a.sum(dim=(0, 1)), ((2, 5, 3),)),
    "sum last two": Case(lambda m, a: a.sum(dim=(-1, -2)), ((2, 5, 3),)),
    "mean": Case(lambda m, a: m.mean(a)),
    "mean 0": Case(lambda m, a: a.mean(dim=0)),
    "mean 1": Case(lambda m, a: a.mean(1)),
    "mean scalar": Case(lambda m, a: a.mean(), ((),)),
    "var": Case(lambda m, a: a.var()),
    "std 0": Case(lambda m, a: a.std(0)),
    "max": Case(lambda m, a: a.max()),
    "min": Case(lambda m, a: a.min()),
    "max 1": Case(lambda m, a: a.max(dim=1).values),
    "max 0": Case(lambda m, a: m.max(a, 0)[0], ((3, 4, 2),)),
    "min keepdim": Case(lambda m, a: a.min(1, keepdim=True).values),
    "prod": Case(lambda m, a: m.prod(a), ((7,),)),
    "prod 0": Case(lambda m, a: a.prod(0), ((3, 4, 2),)),
    "prod 1": Case(lambda m, a: a.prod(dim=1, keepdim=True)),
    "prod with a zero": Case(lambda m, a: (a * m.tensor([1.0, 0.0, 1.0, 1.0])).prod(1)),
    "cumsum 0": Case(lambda m, a: a.cumsum(0), ((300, 2),)),
    "cumsum last": Case(lambda m, a: m.cumsum(a, dim=-1), ((2, 3, 4),)),
    "norm": Case(lambda m, a: m.norm(a)),
    "norm rows": Case(lambda m, a: a.norm(dim=1, keepdim=True), ((3, 300),)),
    "norm 1": Case(lambda m, a: a.norm(1), kinks=(0.0,)),
    "norm 3": Case(lambda m, a: a.norm(p=3, dim=0), **POSITIVE),
    "norm inf": Case(lambda m, a: a.norm(float("inf"), dim=1), kinks=(0.0,)),
    "norm of zeros": Case(lambda m, a: (a * 0).norm(dim=1)),
    "logsumexp": Case(lambda m, a: m.logsumexp(a, dim=1)),
    "logsumexp 0": Case(lambda m, a: (300 * a).logsumexp(0, keepdim=True)),
    "amax": Case(lambda m, a: a.amax(1)),
    "amin": Case(lambda m, a: a.amin(0, keepdim=True), ((3, 4, 2),)),
    "sort": Case(lambda m, a: a.sort().values),
    "sort 0": Case(lambda m, a: m.sort(a, dim=0, descending=True)[0], ((5, 3),)),
    "topk": Case(lambda m, a: a.topk(2, dim=1).values, ((4, 6),)),
    "topk small": Case(lambda m, a: m.topk(a, 2, largest=False)[0], ((4, 6),)),
    "median": Case(lambda m, a: a.median(), ((3, 5),)),
    "median 1": Case(lambda m, a: a.median(dim=1).values, ((3, 4),)),
    "flip": Case(lambda m, a: a.flip(0, 1)),
    "narrow": Case(lambda m, a: a.narrow(1, 1, 2)),
    "select": Case(lambda m, a: a.select(1, -2)),
    "index_select": Case(lambda m, a: a.index_select(1, m.tensor([2, 0, 2]))),
    "unbind": Case(lambda m, a: a.unbind(1)[2] * a.unbind(1)[0]),
    "split": Case(lambda m, a: m.split(a, 3, dim=1)[0] + m.split(a, [1, 3], dim=1)[1]),
    "chunk": Case(lambda m, a: m.chunk(a, 2, dim=1)[1]),
    "repeat": Case(lambda m, a: a.repeat(2, 3)),
    "repeat rows": Case(lambda m, a: a.repeat(2, 1, 1), ((2, 3),)),
    "masked_fill": Case(lambda m, a: a.masked_fill(a.detach() > 0, 0.5)),
    "where of a method": Case(lambda m, a: a.where(a.detach() > 0, a * 3)),
    "outer": Case(lambda m, a, b: m.outer(a, b), ((3,), (5,))),
    "reshape": Case(lambda m, a: a.reshape(2, 6)),
    "view": Case(lambda m, a: a.view(-1, 2)),
    "flatten": Case(lambda m, a: a.flatten(1), ((2, 3, 4),)),
    "squeeze": Case(lambda m, a: a.squeeze(), ((1, 3, 1),)),
    "squeeze 0": Case(lambda m, a: a.squeeze(0), ((1, 3, 1),)),
    "unsqueeze": Case(lambda m, a: a.unsqueeze(-1)),
    "t": Case(lambda m, a: a.t() * 2),
    "T": Case(lambda m, a: a.T),
    "transpose": Case(lambda m, a: a.transpose(0, 2), ((2, 3, 4),)),
    "permute": Case(lambda m, a: a.permute(2, 0, 1), ((2, 3, 4),)),
    "reshape of turned": Case(lambda m, a: a.T.reshape(2, 6)),
    "expand": Case(lambda m, a: a.expand(3, 4), ((3, 1),)),
    "clone": Case(lambda m, a: a.clone()),
    "index row": Case(_index(1)),
    "index last": Case(_index((-1, 2))),
    "index slice": Case(_index(slice(1, 3))),
    "index column": Case(_index((slice(None), 1))),
    "index step": Case(_index((slice(None, None, 2), slice(1, None)))),
    "index none": Case(_index((None, slice(None), None, 2))),
    "index ellipsis": Case(_index((..., 0)), ((2, 3, 4),)),
    "index list": Case(_index([2, 0, 2])),
    "index lists": Case(_index(([0, 2, 2], [1, 1, 3]))),
    "index apart": Case(_index(([0, 1], slice(None), [2, 3])), ((2, 3, 4),)),
    "index behind": Case(_index((slice(None), [0, 2, 1, 1])), ((2, 3, 4),)),
    "mask": Case(lambda m, a: a[a.detach() > 0]),
    "mask rows": Case(lambda m, a: a[m.tensor([True, False, True])]),
    "pick labels": Case(lambda m, a: a[m.arange(3), m.tensor([1, 0, 3])]),
    "gather": Case(lambda m, a: a.gather(1, m.tensor([[0, 3], [1, 1], [2, 0]]))),
    "stack": Case(lambda m, a, b: m.stack([a, b], dim=1), ((3, 4), (3, 4))),
    "cat 0": Case(lambda m, a, b: m.cat((a, b)), ((3, 4), (1, 4))),
    "cat 1": Case(lambda m, a, b: m.cat([a, b, a], dim=1), ((3, 4), (3, 2))),
    "matmul": Case(lambda m, a, b: a @ b, ((3, 4), (4, 5))),
    "matmul narrow": Case(lambda m, a, b: a @ b, ((300, 7), (7, 2))),
    "matmul small": Case(lambda m, a, b: m.mm(a, b), ((300, 3), (3, 1))),
    "matmul turned": Case(lambda m, a, b: a @ b.T, ((6, 4), (9, 4))),
    "matmul turned left": Case(lambda m, a, b: a.T @ b, ((6, 4), (6, 9))),
    "matmul wide": Case(lambda m, a, b: m.matmul(a, b), ((40, 33), (33, 17))),
    "matmul vectors": Case(lambda m, a, b: a @ b, ((6,), (6,))),
    "matmul vector right": Case(lambda m, a, b: a @ b, ((5, 6), (6,))),
    "matmul vector left": Case(lambda m, a, b: a @ b, ((6,), (6, 8))),
    "matmul stack": Case(lambda m, a, b: a @ b, ((2, 3, 4), (2, 4, 5))),
    "matmul stack broadcast": Case(lambda m, a, b: a @ b, ((2, 3, 4), (4, 5))),
    "matmul sparse left": Case(lambda m, a, b: a[:, ::2] @ b, ((6, 10), (5, 9))),
    "matmul sparse right": Case(lambda m, a, b: a @ b[::2, ::3], ((60, 5), (10, 30))),
    "matmul wide stack": Case(lambda m, a, b: m.matmul(a, b), ((9, 5, 7), (9, 7, 6))),
    "matmul many rows": Case(lambda m, a, b: a @ b.T, ((520, 6), (20, 6))),
    "linear": Case(_linear, ((7, 4), (5, 4), (5,))),
    "linear narrow": Case(_linear, ((300, 7), (2, 7), (2,))),
    "linear small": Case(_linear, ((300, 3), (1, 3), (1,))),
    "linear wide": Case(_linear, ((50, 33), (70, 33), (70,))),
    "linear without bias": Case(_linear, ((7, 4), (5, 4))),
    "linear one row": Case(_linear, ((4,), (6, 4), (6,))),
    "linear stack": Case(_linear, ((2, 3, 4), (5, 4), (5,))),
    "linear one output": Case(_linear, ((2, 3, 4), (4,))),
    "linear turned": Case(lambda m, a, b: _linear(m, a.T, b.T), ((4, 7), (4, 5))),
    "dot": Case(lambda m, a, b: m.dot(a, b), ((6,), (6,))),
    "chain": Case(lambda m, a, b: (((a @ b).tanh() ** 2).mean(0) - 1).exp(), ((5, 3), (3, 6))),
    "used twice": Case(lambda m, a: a * a + a.exp() * a - a.sum() / a),
}


def operands(case: Case, seed: int = 0) -> list[np.ndarray]:
    """Float64 operands, at least 0.05 from the kinks."""
    rng = np.random.default_rng(seed)
    made = []
    for shape in case.shapes:
        x = rng.uniform(case.low, case.high, shape)
        for kink in case.kinks:
            x = np.where(abs(x - kink) < 0.05, kink + 0.1, x)
        made.append(np.asarray(x))
    return made
