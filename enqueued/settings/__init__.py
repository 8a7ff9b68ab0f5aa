"""Settings: one declared table, from which flags, variables, TOML keys, help, listings and docs are made.

A setting is one field of `DaemonSettings` or `StreamSettings`. `resolve` fills them from, in this order,
command-line flags, ``ENQUEUED_*`` variables, a TOML file, the defaults; and remembers where each came from.
"""

from __future__ import annotations

from enqueued.settings.declaration import Setting, settings_of
from enqueued.settings.listing import listing
from enqueued.settings.resolution import Settings, resolve
from enqueued.settings.table import DaemonSettings, StreamSettings

__all__ = ["DaemonSettings", "Setting", "Settings", "StreamSettings", "listing", "resolve", "settings_of"]
