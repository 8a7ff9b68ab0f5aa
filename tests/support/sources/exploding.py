"""A module that raises while it is imported."""

from __future__ import annotations

raise ValueError("the folder of images is empty\nsecond line")
