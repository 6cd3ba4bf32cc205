"""`eventify token`: access tokens without a login."""

import click

from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from shared.auth.mint_tokens import mint_tokens, user_names


@click.command()
@click.argument("name")
@click.option("--count", type=int, help="Mint tokens for users NAME1 to NAMEn.")
def token(name: str, count: int | None) -> None:
    """Mint access tokens without a login, one per line; create missing users."""
    names = user_names(name, count)
    settings = settings_of_running_system(find_home())
    with database(settings) as engine, engine.begin() as connection:
        tokens = mint_tokens(connection, settings, names)
    for minted in tokens:
        click.echo(minted)
