"""`eventify settings`: the settings in force, or the reference of all."""

import json
import os
import sys
from pathlib import Path

import click

from deploy.cli.settings_reference import settings_reference
from deploy.local.environment import (
    DIRECTORIES,
    given_variables,
    recorded_variables,
    settings_of_running_system,
)
from deploy.local.home import Home, find_home
from shared.config.foreign_variables import removed_variables
from shared.config.settings import Settings, unknown_variables, variable
from shared.config.url_passwords import without_passwords


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--markdown", is_flag=True, help="Print docs/configuration.md, the reference of all settings."
)
def settings(as_json: bool, markdown: bool) -> None:
    """Print the settings in force, without secrets; * marks those that differ from the default.

    They are those of this shell's variables, then of the system that runs in EVENTIFY_HOME; a
    warning names variables that differ. Exit code 1 if a variable with the prefix EVENTIFY_ is not
    a setting.
    """
    if markdown:
        click.echo(settings_reference(), nl=False)
        return
    home = find_home()
    if overridden := _overridden(home):
        click.echo(
            f"Warning: the running system has other values of {', '.join(overridden)}; this shell's"
            " values are shown. To apply them: `eventify down`, then `eventify up`.",
            err=True,
        )
    in_force = settings_of_running_system(home)
    values = {variable(name): _shown(getattr(in_force, name)) for name in Settings.model_fields}
    if as_json:
        click.echo(json.dumps(values, indent=2))
    else:
        changed = {variable(name) for name in Settings.model_fields if _is_changed(in_force, name)}
        for name, value in values.items():
            click.echo(f"{'*' if name in changed else ' '} {name}={value}")
    sys.exit(1 if warn_of_unknown_variables() else 0)


def warn_of_unknown_variables() -> bool:
    """Name variables that have no effect on standard error; whether a setting is unknown."""
    if removed := removed_variables():
        click.echo(
            f"Warning: {', '.join(removed)} {'is' if len(removed) == 1 else 'are'} ignored: put"
            " connection options into EVENTIFY_DATABASE_URL and EVENTIFY_BROKER_URL.",
            err=True,
        )
    unknown = unknown_variables(os.environ)
    for name, meant in sorted(unknown.items()):
        suggestion = f"; did you mean {meant}?" if meant else "."
        click.echo(f"Warning: {name} is not a setting{suggestion}", err=True)
    return bool(unknown)


def _overridden(home: Home) -> list[str]:
    """Variables of this shell that a system which runs in this home has otherwise."""
    wanted = given_variables(os.environ)
    recorded = recorded_variables(home, wanted)
    if not recorded:
        return []
    found = []
    for name, field in Settings.model_fields.items():
        given = wanted.get(variable(name))
        running = recorded.get(variable(name))
        if running is None and not field.is_required():
            running = _shown(field.default)
        if given is not None and variable(name) in DIRECTORIES:
            given = str(Path(given).absolute())
        if given is not None and given != running:
            found.append(variable(name))
    return found


def _is_changed(in_force: Settings, name: str) -> bool:
    field = Settings.model_fields[name]
    return field.is_required() or getattr(in_force, name) != field.default


def _shown(value: object) -> str:
    """A value as a variable would hold it, its passwords hidden."""
    if isinstance(value, bool):
        return str(value).lower()
    return without_passwords(str(value))
