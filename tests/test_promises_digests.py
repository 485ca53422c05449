# SPDX-License-Identifier: MIT
"""The bits of many trainings are stored: this and every later version reproduces them.

tests/data/digest_cases.txt has the cases, tests/data/digests.txt what came out: digests of
parameters, of losses and of predictions. The C++ program tests/cpp/digests.cpp trains the same
cases without Python; `python tests/cpp/check_digests.py` compares compilers and architectures.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import digest_cases
import numpy as np
import pytest
from digest_cases import LAYOUTS, cases, stored

import schuss

ISAS: list[str] = schuss.info()["isas"]
THREADS = [1, 2, 3, 7]
NAMES = list(cases())

Wanted = list[tuple[str, int, str]]


def computed(isa: str, wanted: Wanted) -> list[list[str]]:
    """In a process of its own, where `isa` runs."""
    run = subprocess.run(
        [sys.executable, digest_cases.__file__],
        input=json.dumps(wanted),
        env={**os.environ, "SCHUSS_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["isa"] == isa  # the forced one really ran
    digests: list[list[str]] = found["digests"]
    return digests


def differing(wanted: Wanted, found: list[list[str]]) -> list[Any]:
    pairs = zip(wanted, found, strict=True)
    return [(run, digests) for run, digests in pairs if digests != stored()[run[0]]]


def spread(turn: int) -> Wanted:
    """Every case once; over the instruction sets and cases, every pair of threads and layout."""
    both = list(itertools.product(THREADS, LAYOUTS))
    return [(name, *both[(7 * turn + i) % len(both)]) for i, name in enumerate(NAMES)]


def test_every_case_is_stored_and_no_other() -> None:
    assert list(stored()) == NAMES
    everything = [digest for digests in stored().values() for digest in digests]
    assert all(len(digest) == digest_cases.DIGITS for digest in everything)


# What one formula is the special case of.
SAME = [
    ["loss-huber", "loss-smooth-l1"],
    ["loss-l1-sum", "loss-smooth-l1-a0.0-sum"],
    ["opt-adam-lr0.01", "opt-adamw-lr0.01"],
]


def test_cases_tell_results_apart() -> None:
    """Two cases end alike only where they do the same."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, digests in stored().items():
        groups.setdefault(tuple(digests), []).append(name)
    same = sorted(names for names in groups.values() if len(names) > 1)
    assert same == sorted(SAME + [[f"{name}-f64" for name in names] for names in SAME])


@pytest.mark.parametrize("isa", ISAS)
def test_bits_are_the_stored_ones_on_every_instruction_set(isa: str) -> None:
    wanted = spread(ISAS.index(isa))
    assert differing(wanted, computed(isa, wanted)) == []


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("isa", ISAS)
def test_bits_are_the_stored_ones_in_the_whole_matrix(isa: str, threads: int, layout: str) -> None:
    wanted = [(name, threads, layout) for name in NAMES]
    assert differing(wanted, computed(isa, wanted)) == []


@cache
def trained(name: str) -> digest_cases.Run:
    return digest_cases.run_case(cases()[name])


@pytest.mark.parametrize("name", NAMES)
def test_prediction_of_a_row_does_not_depend_on_its_batch(name: str) -> None:
    case = cases()[name]
    x = digest_cases.probes(case, digest_cases.features(case))
    run = trained(name)
    assert run.digests == stored()[name]
    whole = schuss.predict(run.model, x)
    cuts = [0, 1, 3, len(x) // 2, len(x)]
    parts = [schuss.predict(run.model, x[a:b]) for a, b in itertools.pairwise(cuts)]
    assert digest_cases.digest(np.concatenate(parts)) == digest_cases.digest(whole)
    assert digest_cases.digest(run.model(x).numpy()) == digest_cases.digest(whole)


@pytest.mark.parametrize("name", [n for n in NAMES if cases()[n].integer("shards", 1) == 1])
def test_loop_written_out_has_the_stored_bits(name: str) -> None:
    case = cases()[name]
    model = digest_cases.model_of(case)
    outs = digest_cases.outputs_of(case)
    loss, optimizer = digest_cases.loss_of(case, outs), digest_cases.optimizer_of(case, model)
    options = digest_cases.fit_options(case)
    options["shuffle"] = options["shuffle"] and case.batch is not None
    x, y = digest_cases.features(case), digest_cases.targets(case, outs)
    loader = schuss.DataLoader(x, y, **options)
    for _ in range(case.integer("epochs", 2)):
        for xb, yb in loader:
            optimizer.zero_grad()
            loss(model(xb), yb).backward()
            optimizer.step()
    assert digest_cases.digest(*digest_cases.parameters_of(model)) == stored()[name][0]
