"""`eventify kubernetes-secrets`: the secrets that deploy/kubernetes refers to."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from shared.auth.keys import PUBLIC_SUFFIX, add_signing_key
from shared.config.database_url import with_login
from shared.database.logins import ROLE_OF_SETTING

PASSWORD_BYTES = 24
NAMESPACE = "eventify"


@click.command()
@click.option("--database-url", help="Of an existing database; default: that of single-node.")
@click.option(
    "--database-host",
    default="postgres",
    show_default=True,
    help="With single-node; database-rw with components/cloudnative-pg.",
)
@click.option("--redis-url", help="Of an existing Redis; default: that of components/valkey.")
@click.option("--broker-url", help="Of the broker, if it is not that Redis.")
def kubernetes_secrets(
    database_url: str | None, database_host: str, redis_url: str | None, broker_url: str | None
) -> None:
    """Print new passwords and a new signing key as resources, for `kubectl create -f -`.

    `create` fails for secrets that exist, and so never overwrites one.
    """
    items = _key_resources()
    if database_url is None:
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        items.append(_secret("postgres", {"password": password}))
        database_url = f"postgresql://eventify:{password}@{database_host}:5432/eventify"
    if redis_url is None:
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        items.append(_secret("valkey", {"password": password}))
        redis_url = f"redis://:{password}@valkey:6379/0"
    broker = {"eventify_redis_url": redis_url}
    if broker_url is not None:
        broker["eventify_broker_url"] = broker_url
    items.append(_secret("eventify-database", {"eventify_database_url": database_url}))
    logins = {
        f"eventify_{setting}": with_login(
            database_url, f"{role}_login", secrets.token_urlsafe(PASSWORD_BYTES)
        )
        for setting, role in ROLE_OF_SETTING.items()
    }
    items.append(_secret("eventify-database-logins", logins))
    items.append(_secret("eventify-broker", broker))
    click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))


def _key_resources() -> list[dict[str, object]]:
    """Both halves of a key for the gateways, and the public half for the catalog."""
    with TemporaryDirectory() as folder:
        add_signing_key(Path(folder))
        files = {file.name: file.read_text() for file in Path(folder).iterdir()}
    public = {name: text for name, text in files.items() if name.endswith(PUBLIC_SUFFIX)}
    return [
        _secret("eventify-signing-keys", files),
        _resource("ConfigMap", "eventify-public-keys", data=public),
    ]


def _secret(name: str, values: Mapping[str, str]) -> dict[str, object]:
    return _resource("Secret", name, stringData=values)


def _resource(kind: str, name: str, **content: object) -> dict[str, object]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}
