"""Settings as a TOML file: every value, what it means, and where it came from."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from enqueued.settings.declaration import Setting, settings_of
from enqueued.settings.resolution import Settings
from enqueued.settings.table import DaemonSettings, StreamSettings

HEAD = """\
# The settings of an enqueued daemon, as `enqueued config show` prints them.
# A flag goes before a variable, a variable before a file, a file before the default.
# Behind each value stands where it came from. What reads `# name =` is not set.
"""


def listing(settings: Settings) -> str:
    """The settings as TOML with comments; reading it back gives the same settings."""
    lines = [HEAD]
    lines += _table(settings, "daemon", settings.daemon, settings_of(DaemonSettings))
    for name, stream in settings.streams.items():
        # a dot in a stream's name would open a table within a table
        title = f'stream."{name}"' if "." in name else f"stream.{name}"
        lines += ["", *_table(settings, f"stream.{name}", stream, settings_of(StreamSettings), title)]
    return "\n".join(lines) + "\n"


def _table(
    settings: Settings, table: str, values: Any, known: dict[str, Setting], title: str | None = None
) -> list[str]:
    lines = [f"[{title or table}]"]
    for name, setting in known.items():
        lines.append("")
        lines += _comment(setting)
        lines.append(_assignment(setting, getattr(values, name), settings.origin(table, name)))
    return lines


def _comment(setting: Setting) -> list[str]:
    expected = setting.kind.expected
    names = ", ".join(name for name in (setting.flag, setting.off_flag, setting.variable) if name)
    sentences = [setting.meaning, f"{expected[0].upper()}{expected[1:]}; {names}."]
    if setting.unset:
        sentences.append(f"When not set: {setting.unset}.")
    return [f"# {line}" for text in sentences for line in wrap(text, 105, break_on_hyphens=False)]


def _assignment(setting: Setting, value: Any, origin: str) -> str:
    if value is None:
        return f"# {setting.name} ="
    try:
        return f"{setting.name} = {setting.kind.write(value)}  # {origin}"
    except ValueError:
        return f"# {setting.name} =  # {origin}: holds a null, which TOML cannot say"
