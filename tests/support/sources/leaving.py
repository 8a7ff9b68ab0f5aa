"""A module that ends the interpreter while it is imported."""

from __future__ import annotations

import sys

sys.exit("I leave")
