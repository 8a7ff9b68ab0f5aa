"""A module whose own import fails."""

from __future__ import annotations

import no_such_dependency_of_mine  # type: ignore[import-not-found]

source = no_such_dependency_of_mine.source
