"""What all who act share: the API, the sales that are open, and tokens of buyers."""

import random
import time
from collections.abc import Awaitable

import msgspec

from loadtests.soak.load.api import Api
from loadtests.soak.load.plan import LoadPlan
from loadtests.soak.load.tally import LoadTally
from shared.errors import ConfigurationError


class OpenSale(msgspec.Struct):
    """`sold_out_at`: when a buyer was first told so."""

    event: int
    ticket_types: list[int]
    opened_at: float
    sold_out_at: float | None = None


class World:
    """`tokens`: of buyers; replaced as a whole, and one by one."""

    def __init__(self, plan: LoadPlan, tokens: list[str], tally: LoadTally, api: Api) -> None:
        self.plan = plan
        self.tally = tally
        self.api = api
        self.tokens = tokens
        self.sales: list[OpenSale] = []
        self.chance = random.Random(1)  # noqa: S311 - a load, no secret

    def any_token(self) -> str:
        return self.chance.choice(self.tokens)

    def any_sale(self) -> OpenSale:
        return self.chance.choice(self.sales)

    def sold_out(self, sale: OpenSale) -> None:
        sale.sold_out_at = sale.sold_out_at or time.monotonic()

    def by_chance(self, share: float) -> bool:
        return self.chance.random() < share


async def guarded(world: World, who: str, work: Awaitable[None]) -> None:
    """Do it; a lost connection or a missing answer is an error of the run, and does not end it."""
    try:
        await work
    except (OSError, ConfigurationError) as error:  # a TimeoutError is an OSError
        world.tally.error(f"{who}: {type(error).__name__}", str(error))
