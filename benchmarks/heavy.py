"""A source whose module imports torch, which takes seconds."""

from __future__ import annotations

import importlib

from benchmarks.slow import Built

torch = importlib.import_module("torch")


class Heavy(Built):
    """Whoever makes its batches has torch."""
