"""Prints for the operator, also after the terminal was closed."""

from contextlib import suppress

import click


def say(line: str, *, err: bool = False) -> None:
    # A terminal that closed must not keep us from stopping what we started.
    with suppress(OSError):
        click.echo(line, err=err)
