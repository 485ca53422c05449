# SPDX-License-Identifier: MIT
"""Time schuss against what an expert would use instead, in one alternating run.

    python bench/compare.py                             # everything, about half an hour
    python bench/compare.py --quick                     # a smoke test on few rows, seconds
    python bench/compare.py --cases line30,mnist --rounds 9 --json r.json --plot r.png
    python bench/compare.py --cases mnist,wide --isa avx2    # both sides held to AVX2

Every contender first trains one epoch from the same weights over the same batches and is compared
with a float64 reference; one that is wrong is named, not timed, and makes the exit status 1. Then
all are timed in turn, A B C A B C, so that the machine's moods meet everyone. See
docs/PERFORMANCE.md for the method and what threatens it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import machine
import report
from bounds import Bound, Hardware
from cases import CASES, Case, Contender, Index, Problem, Unsupported, make_problem
from reference import check, train_reference

Factory = Callable[[Problem, bool, int], Contender]

PEERS = (
    ("schuss", "peers_schuss", ("Schuss", "SchussOneThread", "SchussLoop")),
    ("PyTorch", "peers_torch", ("TorchEager",)),
    ("JAX", "peers_jax", ("JaxScan",)),
    ("scikit-learn", "peers_sklearn", ("SklearnMLP", "SklearnSGD")),
)
#: What --isa sets for everyone, by instruction set. Read when the libraries are loaded.
ISA_VARIABLES = {
    "avx2": {
        "SCHUSS_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    }
}
SETTLE_SECONDS = 0.02  # idle workers of OpenMP teams spin for milliseconds after their last region
WARM_SECONDS = 0.05  # epochs shorter than this are run once untimed, to warm caches after a change
MAX_EPOCHS = 1_000_000


@dataclasses.dataclass
class Checked:
    """Contenders by label: error in tolerances (None where not comparable), or why not timed."""

    contenders: dict[str, Contender]
    errors: dict[str, float | None]
    skipped: dict[str, str]
    wrong: dict[str, str]


def load_factories(threads: int, wanted: list[str]) -> tuple[list[tuple[str, Factory]], list[str]]:
    """Import the peers that are installed.

    Returns
    -------
    factories
        ``(label, constructor)`` pairs, schuss first.
    missing
        A sentence for each peer that could not be imported.
    """
    factories: list[tuple[str, Factory]] = []
    missing = []
    for title, module_name, class_names in PEERS:
        if wanted and title.lower() not in wanted:
            continue
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            missing.append(f"{title} is skipped: {error}")
            continue
        for class_name in class_names:
            factory: Factory = getattr(module, class_name)
            if class_name == "TorchEager":
                factories += [
                    (f"{title} {n}", _with_threads(factory, n)) for n in sorted({1, threads})
                ]
            else:
                factories.append((f"{title} {class_name}", factory))
    return factories, missing


def _with_threads(factory: Factory, threads: int) -> Factory:
    def build(problem: Problem, shuffled: bool, _: int) -> Contender:
        return factory(problem, shuffled, threads)

    return build


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Peers warn about batch sizes and convergence; a benchmark knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def first_order(case: Case, shuffled: bool, with_schuss: bool) -> Index:
    """Return the order of rows in which everyone trains for the check."""
    if not shuffled:
        return np.arange(case.n_rows)
    if with_schuss:
        from peers_schuss import shuffled_order

        order = shuffled_order(case)
        assert np.array_equal(np.sort(order), np.arange(case.n_rows)), "not a permutation"
        return order
    return np.random.default_rng(1).permutation(case.n_rows)


def seconds_of(contender: Contender, epochs: int) -> float:
    """Time one call."""
    start = time.perf_counter()
    contender.train(epochs)
    return time.perf_counter() - start


def choose_epochs(contender: Contender, min_seconds: float) -> int:
    """Find how many epochs make a sample of at least `min_seconds`; warms up on the way."""
    epochs = 1
    contender.train(1)
    while True:
        seconds = seconds_of(contender, epochs)
        if seconds >= min_seconds or epochs >= MAX_EPOCHS:
            return epochs
        growth = 1.2 * min_seconds / max(seconds, 1e-7)
        epochs = min(MAX_EPOCHS, max(epochs + 1, int(epochs * min(growth, 20.0))))


def check_answers(
    problem: Problem, shuffled: bool, factories: list[tuple[str, Factory]], threads: int
) -> Checked:
    """Make every contender, train it for one epoch and compare with the reference."""
    with_schuss = any(label.startswith("schuss") for label, _ in factories)
    order = first_order(problem.case, shuffled, with_schuss)
    expected = train_reference(problem, order)
    checked = Checked({}, {}, {}, {})

    def add(label: str, factory: Factory) -> None:
        try:
            contender = factory(problem, shuffled, threads)
            checked.errors[label] = (
                check(contender.name, contender.answer(order), expected)
                if contender.same_algorithm
                else None
            )
            checked.contenders[label] = contender
        except Unsupported as reason:
            checked.skipped[label] = str(reason)
        except AssertionError as error:
            checked.wrong[label] = str(error)

    for label, factory in factories:
        add(label, factory)
    return checked


def run_case(
    case: Case,
    shuffled: bool,
    factories: list[tuple[str, Factory]],
    hardware: Hardware | None,
    threads: int,
    rounds: int,
    min_seconds: float,
) -> report.CaseResult:
    """Check, then time one case in one order."""
    small = make_problem(case.for_check())
    checked = check_answers(small, shuffled, factories, threads)
    errors = checked.errors
    if small.case == case:
        problem = small
        runners = list(checked.contenders.items())
    else:
        problem = make_problem(case)
        runners = [
            (label, factory(problem, shuffled, threads))
            for label, factory in factories
            if label in checked.contenders
        ]
    checked.contenders.clear()
    epochs = [choose_epochs(contender, min_seconds) for _, contender in runners]
    samples: list[list[float]] = [[] for _ in runners]
    bounds: list[Bound] = []
    readings: list[float] = []
    for _ in range(rounds):
        for (_, contender), n, times in zip(runners, epochs, samples, strict=True):
            time.sleep(SETTLE_SECONDS)
            if times and times[-1] * case.units < WARM_SECONDS:
                contender.train(1)
            times.append(seconds_of(contender, n) / (n * case.units))
        if hardware is not None:
            bounds.append(hardware.bound(problem, shuffled))
            if reading := hardware.reading(problem, shuffled, threads):
                readings.append(statistics.median(reading) / case.units)
    least = min(bounds, key=lambda b: b.seconds, default=None)
    return report.CaseResult(
        case=case.name,
        work=case.work,
        order="shuffled" if shuffled else ("full batch" if case.batch is None else "in order"),
        unit=case.unit,
        bound_seconds=None if least is None else least.seconds,
        bound_reason="" if least is None else least.reason,
        readings=readings,
        timings=[
            report.Timing(contender.name, times, n, errors[label], contender.compile_seconds)
            for (label, contender), n, times in zip(runners, epochs, samples, strict=True)
        ],
        skipped=checked.skipped,
        wrong=checked.wrong,
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n", maxsplit=1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--cases", default=",".join(names), help="names, separated by commas")
    parser.add_argument("--peers", default="", help="schuss,pytorch,jax,scikit-learn; all if empty")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each contender")
    parser.add_argument("--min-seconds", type=float, default=0.2, help="shortest sample")
    parser.add_argument(
        "--threads",
        type=int,
        default=None,
        help="of schuss and PyTorch; all cores, with --quick one, if not given",
    )
    parser.add_argument(
        "--isa",
        choices=sorted(ISA_VARIABLES),
        help="hold everyone to this instruction set; what the environment sets already stays",
    )
    parser.add_argument(
        "--quick", action="store_true", help="few rows, one round: the times mean nothing"
    )
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--plot", type=Path, help="draw the ratios into this file")
    options = parser.parse_args(arguments)
    options.cases = options.cases.split(",")
    unknown = sorted(set(options.cases) - set(names))
    if unknown:
        parser.error(f"--cases: no case named {', '.join(unknown)}; there are {', '.join(names)}")
    options.peers = [name for name in options.peers.lower().split(",") if name]
    unknown = sorted(set(options.peers) - {title.lower() for title, _, _ in PEERS})
    if unknown:
        parser.error(f"--peers: no peer named {', '.join(unknown)}")
    if options.threads is None:
        options.threads = 1 if options.quick else machine.available_cores()
    for name in ("rounds", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: got {getattr(options, name)}; expected 1 or more")
    if options.quick:
        options.rounds, options.min_seconds = 1, 0.0
    return options


def use_isa(isa: str) -> None:
    """Start this program again with the variables of an instruction set, unless they are there."""
    missing = {k: v for k, v in ISA_VARIABLES[isa].items() if k not in os.environ}
    if missing:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | missing)  # noqa: S606


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; return 1 where an answer was wrong."""
    options = parse(arguments)
    if options.isa is not None:
        use_isa(options.isa)
    factories, missing = load_factories(options.threads, options.peers)
    hardware: Hardware | None = None
    try:
        hardware = Hardware(options.threads, 1 if options.quick else 5)
    except ImportError as error:
        missing.append(f"bounds of the hardware are skipped: {error}")
    described = machine.describe(options.threads)
    probes = {} if hardware is None or options.quick else hardware.summary()
    print(report.machine_text(described, probes), *missing, sep="\n")
    if options.quick:
        print("--quick: few rows and one round; the times mean nothing")
    results = []
    for case in CASES:
        if case.name not in options.cases:
            continue
        timed = case.for_smoke() if options.quick else case
        for shuffled in timed.orders:
            with _quiet():
                result = run_case(
                    timed, shuffled, factories, hardware,
                    options.threads, options.rounds, options.min_seconds,
                )  # fmt: skip
            results.append(result)
            print("\n" + report.case_table(result), flush=True)
            if options.json is not None:
                chosen = {name: str(value) for name, value in vars(options).items()}
                chosen["missing"] = "; ".join(missing)
                report.write_json(options.json, described, probes, chosen, results)
    if options.plot is not None:
        try:
            report.write_plot(options.plot, results)
        except ImportError as error:
            print(f"no picture: {error}; pip install 'schuss[bench]'")
    return 1 if any(result.wrong for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
