# SPDX-License-Identifier: MIT
"""The command line: ``python -m schuss demo`` and ``python -m schuss info``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import schuss


def _at_least(minimum: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = minimum - 1
    if value < minimum:
        raise argparse.ArgumentTypeError(f"got {text}; expected a whole number from {minimum} up")
    return value


def _seed(text: str) -> int:
    return _at_least(0, text)


def _epochs(text: str) -> int:
    return _at_least(1, text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m schuss", description="Train small and medium dense networks on the CPU."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="train a regression and a digit classifier on real data that ships with schuss"
    )
    demo.add_argument("--seed", type=_seed, default=0, help="weights and shuffling (default 0)")
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("schuss-demo"),
        metavar="DIR",
        help="folder for the models and the picture (default ./schuss-demo)",
    )
    demo.add_argument(
        "--epochs", type=_epochs, default=None, help="epochs of the digit classifier (default 60)"
    )
    commands.add_parser("info", help="print version, kernels, threads, compiler and cache sizes")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "info":
        for key, value in schuss.info().items():
            print(f"{key:<12} {value}")
        return 0
    from schuss import _demo  # not at the top: `info` needs neither data nor plots

    if options.epochs is None:
        _demo.run(options.seed, options.out)
    else:
        _demo.run(options.seed, options.out, options.epochs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
