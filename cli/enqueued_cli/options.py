"""Click options from the table of settings: what is declared there is not said again here."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from enqueued.settings import DaemonSettings, Setting, Settings, StreamSettings, resolve, settings_of
from enqueued.settings.kinds import Choice, Switch

SECTIONS = {DaemonSettings: "The daemon", StreamSettings: "The stream"}
EPILOG = (
    "Each of these settings is also a variable and a key of the file: --max-queue-size, ENQUEUED_MAX_QUEUE_SIZE, "
    "max_queue_size. A flag goes before a variable, a variable before the file. See `enqueued config show`."
)


class SettingOption(click.Option):
    """An option made from a setting; its value stays as typed, and is read where files and variables are read."""

    def __init__(self, setting: Setting, section: str) -> None:
        names = setting.flag if setting.off_flag is None else f"{setting.flag}/{setting.off_flag}"
        choices = setting.kind.choices if isinstance(setting.kind, Choice) else None
        super().__init__(
            [names, setting.name],
            help=_help(setting),
            default=None,
            multiple=setting.kind.repeated,
            metavar=setting.kind.metavar or None,
            type=click.Choice(choices) if choices else bool if isinstance(setting.kind, Switch) else str,
        )
        self.section = section


class SettingsCommand(click.Command):
    """A command whose help shows the settings by the part that they are for."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for the command itself and one for each table."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Options", *SECTIONS.values())}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections[getattr(parameter, "section", "Options")].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def settings_options(*tables: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command --config, --stream and a flag for each setting of these tables, as `**flags`."""

    def add(callback: Callable[..., Any]) -> Callable[..., Any]:
        for table in reversed(tables):
            for setting in reversed(settings_of(table).values()):
                _append(callback, SettingOption(setting, SECTIONS[table]))
        for option in (
            click.Option(["--stream"], metavar="NAME", help="Which stream the stream settings are for."),
            click.Option(["-c", "--config"], metavar="FILE", type=click.Path(), help="Read settings from a TOML file."),
        ):
            _append(callback, option)
        return callback

    return add


def resolved(flags: dict[str, Any], *, need_source: bool = True) -> Settings:
    """The settings that the flags of a command, the environment and the file come to."""
    return resolve(flags, os.environ, flags.get("config"), need_source=need_source)


def _append(callback: Callable[..., Any], option: click.Option) -> None:
    # where click's own decorators leave their options, last one first
    vars(callback).setdefault("__click_params__", []).append(option)


def _help(setting: Setting) -> str:
    if setting.default is None:
        return f"{setting.meaning}  [{setting.unset}]"
    if setting.default in ("", (), {}) or setting.default is False:
        return setting.meaning
    return f"{setting.meaning}  [default: {setting.default_words}]"
