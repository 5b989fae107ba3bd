"""Tests, crash test and benchmarks: none runs the shipped models unless it names their folder itself."""

from __future__ import annotations

import os

NO_MODELS = "/there/are/no/models"
os.environ["HOLOSCAN_MODEL_PATH"] = NO_MODELS  # for the processes that tests start, too
