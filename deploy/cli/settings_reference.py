"""docs/configuration.md: every setting of shared/config/settings.py, with the reason beside it.

The comments above the settings are the only place where their reasons stand, so they are read.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from shared.config.settings import OTHER_VARIABLES, Settings, variable

HEADING = "# --- "
# The last word of a setting's name is its unit, if it is one of these.
UNITS = {
    "seconds": "seconds",
    "ms": "milliseconds",
    "bytes": "bytes",
    "rows": "rows",
    "second": "a second",
    "threads": "threads",
}
KINDS: dict[object, str] = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    Path: "folder",
}
NUMBERS = {KINDS[int], KINDS[float]}
INTRODUCTION = """\
# Configuration

Written by `make docs` from [shared/config/settings.py](../shared/config/settings.py).
Do not edit it here.

Every setting is an environment variable. What is out of range, or not of its kind, is told at the
start, each by name, and nothing starts. A variable that begins with `EVENTIFY_` and is no setting
is logged as `setting_unknown`, with the name that was probably meant. `eventify settings` shows
what is in force, without secrets, and exits with 1 if there is such a variable.

Where 0 is allowed, the reason says what it means; every other number is above 0.

No other variable changes a connection: those that libpq (`PGSSLMODE`, `PGPASSWORD`, `PGSERVICE` and
all others) and Celery (`CELERY_BROKER_URL` and all others) read are removed when a process starts,
and logged as `variables_ignored`. What a connection needs belongs in its URL, for example
`EVENTIFY_DATABASE_URL=postgresql://app:password@db/eventify?sslmode=verify-full&sslrootcert=/etc/ca.pem`.
"""
OTHERS = "## What else begins with EVENTIFY_"


class Setting(NamedTuple):
    """`section` and `reason` are the comments above it."""

    name: str
    section: str
    reason: str


def settings_reference() -> str:
    """The whole document, as Markdown."""
    lines, section = [INTRODUCTION.rstrip()], None
    for setting in read_settings(inspect.getsource(Settings)):
        if setting.section != section:
            section = setting.section
            lines += ["", f"## {section[0].upper()}{section[1:]}", ""]
            lines += ["| variable | default | is | why |", "| --- | --- | --- | --- |"]
        lines.append(_row(setting))
    lines += ["", OTHERS, "", "| variable | is |", "| --- | --- |"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in OTHER_VARIABLES.items()]
    return "\n".join(lines) + "\n"


def read_settings(source: str) -> Iterator[Setting]:
    """Each setting of a class, in order.

    Args:
        source: the class; a comment that begins with `---` is the heading of what follows.
    """
    section, comments = "", list[str]()
    for line in map(str.strip, source.splitlines()):
        name = line.partition(":")[0]
        if line.startswith(HEADING):
            section, comments = line.removeprefix(HEADING).rstrip(" -"), []
        elif line.startswith("# "):
            comments.append(line.removeprefix("# "))
        elif name in Settings.model_fields:
            yield Setting(name, section, " ".join(comments))
            comments = []
        else:
            comments = []


def _row(setting: Setting) -> str:
    field = Settings.model_fields[setting.name]
    default = "" if field.is_required() else _default(field.default)
    reason = setting.reason.replace("|", r"\|")
    cells = (f"`{variable(setting.name)}`", default, _kind(setting.name), reason)
    return f"| {' | '.join(cells)} |"


def _default(value: Any) -> str:
    """As one would type it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "" if value == "" else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _kind(name: str) -> str:
    kind = KINDS.get(Settings.model_fields[name].annotation, "text")
    unit = UNITS.get(name.rpartition("_")[2]) if kind in NUMBERS else None
    return f"{kind}, {unit}" if unit else kind
