"""`eventify down`: stops what `up` started."""

import click

from deploy.local.down import take_down
from deploy.local.home import find_home


@click.command()
def down() -> None:
    """Stop what `up` started."""
    home = find_home()
    if take_down(home):
        click.echo("Eventify is stopped.")
    else:
        click.echo(f"Nothing is running in {home.path}.")
