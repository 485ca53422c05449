# SPDX-License-Identifier: MIT
"""What every test needs: figures without a display, and Hypothesis without a stopwatch."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

import schuss
from schuss import _schuss

os.environ.setdefault("MPLBACKEND", "Agg")

# A shell starts what it runs in the background with Ctrl-C ignored, and so Python leaves it; the
# tests of Ctrl-C, and the programs they start, are to get it all the same.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# deadline=None: no test asserts time. derandomize: a failure in one run is a failure in the next.
settings.register_profile("schuss", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("schuss")


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """Threads, and the work that makes one worth having, are afterwards what they were."""
    before = schuss.get_num_threads()
    yield
    schuss.set_num_threads(before)
    _schuss.testing.set_work_per_thread(0.0)
