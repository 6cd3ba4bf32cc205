"""`eventify explain`: why a purchase was confirmed or rejected, or is still queued."""

from typing import NoReturn
from uuid import UUID

import click
import msgspec
from click.types import UUIDParameterType

from deploy.database import database
from deploy.local.environment import settings_of_running_system
from deploy.local.home import find_home
from purchase_worker.audit.explain import explanation, read_facts
from shared.errors import ConfigurationError

# Who asks may know only the name of the buyer.
WITHOUT_ITS_ID = (
    "`eventify user show NAME` has the id of an account, and `eventify export EVENT --format csv`"
    " has each decided purchase with its `user`."
)


class PurchaseId(UUIDParameterType):
    def fail(
        self,
        message: str,
        param: click.Parameter | None = None,
        ctx: click.Context | None = None,
    ) -> NoReturn:
        super().fail(f"{message} {WITHOUT_ITS_ID}", param, ctx)


@click.command()
@click.argument("purchase", type=PurchaseId())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(purchase: UUID, as_json: bool) -> None:
    """Why PURCHASE, given by its id, was confirmed or rejected, or is still queued.

    It only reads. Exit code 1 if there is no such purchase.
    """
    with database(settings_of_running_system(find_home())) as engine:
        facts = read_facts(engine, purchase)
    if facts is None:
        raise ConfigurationError(
            f"There is no purchase {purchase}. A request that was answered with an error is not"
            " stored: search the gateways' logs for its X-Request-ID. `purchase_refused` has its"
            " code, though in a rush not for all; EVENTIFY_ACCESS_LOG=true logs every request."
        )
    if as_json:
        said = {"status": facts.status, "explanation": explanation(facts)}
        fields = msgspec.to_builtins(facts) | said
        click.echo(msgspec.json.format(msgspec.json.encode(fields), indent=2))
    else:
        click.echo("\n".join(explanation(facts)))
