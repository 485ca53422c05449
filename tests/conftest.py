# SPDX-License-Identifier: MIT
"""What every test needs: figures without a display, and Hypothesis without a stopwatch."""

import os

from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

# deadline=None: no test asserts time. derandomize: a failure in one run is a failure in the next.
settings.register_profile("schuss", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("schuss")
