"""What an organiser and the programs of a shop do: sales, feeds, live figures, lists, exports."""

import asyncio
import time
from contextlib import suppress
from itertools import count, cycle
from uuid import uuid4

import msgspec

from loadtests.selling import PURCHASES, create_sale
from loadtests.soak.load.api import path_of
from loadtests.soak.load.plan import HOLD_SECONDS, OPEN_SALES
from loadtests.soak.load.world import OpenSale, World, guarded

# Buyers go on asking for what is sold out; then another sale takes its place.
SOLD_OUT_SHARE = 0.1
LIVE_SECONDS = 20.0
# A feed's reader asks no more often.
FEED_SECONDS = 1.0
LIST_SECONDS = 2.0
PAUSED_SECONDS = 1.0
PAGE_OF_FEED = "?wait=20"


class _FeedPage(msgspec.Struct):
    next: str


class Organiser:
    """Keeps sales open, one after the other in each place, and watches each."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._numbers = count(1)
        self._formats = cycle(["csv", "ndjson"])

    async def open_all(self) -> None:
        """The first sales; each has less to sell than the one after it.

        Raises:
            ConfigurationError: the system does not allow it.
        """
        for place in range(1, OPEN_SALES + 1):
            self._world.sales.append(await self._open(place / OPEN_SALES))

    async def sell(self) -> None:
        """Without end: replaces what is sold out."""
        async with asyncio.TaskGroup() as group:
            for place in range(OPEN_SALES):
                group.create_task(self._sell_in(place))

    async def read_lists(self) -> None:
        """Without end, one list after the other."""
        world = self._world
        while True:
            await asyncio.sleep(world.chance.uniform(0.5, 1.5) * LIST_SECONDS)
            event = world.any_sale().event
            token, path = world.chance.choice(
                [
                    (world.plan.key, f"{PURCHASES}?event={event}&status=confirmed"),
                    (world.plan.key, "/api/events/?ordering=-id&page_size=20"),
                    (world.plan.key, "/api/events/?search=soak"),
                    (world.plan.key, f"/api/ticket-types/?event={event}"),
                    (world.plan.key, f"/api/events/{event}/live/history/"),
                    (world.plan.key, "/api/webhooks/"),
                    (world.any_token(), PURCHASES),
                    (world.any_token(), "/api/schema/"),
                ]
            )
            await guarded(world, "list", self._read("list", token, path))

    async def _sell_in(self, place: int) -> None:
        world = self._world
        while True:
            sale = world.sales[place]
            async with asyncio.TaskGroup() as watching:
                tasks = [
                    watching.create_task(self._follow_feed(sale)),
                    watching.create_task(self._watch_live(sale)),
                ]
                await guarded(world, "organiser", self._interfere(sale))
                await self._sold_out(sale)
                for task in tasks:
                    task.cancel()
            await guarded(world, "organiser", self._replace(place, sale))

    async def _open(self, share: float = 1.0) -> OpenSale:
        plan, number = self._world.plan, next(self._numbers)
        created = await asyncio.to_thread(
            create_sale,
            f"http://127.0.0.1:{plan.port}",
            plan.key,
            f"Soak {number}",
            round(plan.capacity * share),
            hold_seconds=HOLD_SECONDS if number % 2 else None,
            published=True,
        )
        self._world.tally.count("sales opened")
        return OpenSale(created.event, created.ticket_types, time.monotonic())

    async def _sold_out(self, sale: OpenSale) -> None:
        """Until it is, and a while longer; or for three times as long as it should take."""
        seconds = self._world.plan.sale_seconds
        ends_at = sale.opened_at + 3 * seconds
        while time.monotonic() < ends_at:
            if sale.sold_out_at is not None:
                ends_at = min(ends_at, sale.sold_out_at + SOLD_OUT_SHARE * seconds)
            await asyncio.sleep(0.2)

    async def _interfere(self, sale: OpenSale) -> None:
        """In its first half: pauses it for a moment, and extends its holds."""
        plan = self._world.plan
        await asyncio.sleep(plan.sale_seconds / 4)
        path = f"/api/ticket-types/{sale.ticket_types[0]}/"
        await self._post("pause", f"{path}pause/")
        await asyncio.sleep(min(PAUSED_SECONDS, plan.sale_seconds / 8))
        await self._post("resume", f"{path}resume/")
        await self._post("extend", f"/api/events/{sale.event}/extend-holds/", {"seconds": 1})

    async def _replace(self, place: int, sale: OpenSale) -> None:
        """A new sale in its place; the old one is taken off the page, audited and exported."""
        world, event = self._world, f"/api/events/{sale.event}/"
        world.sales[place] = await self._open()
        unpublish = msgspec.json.encode({"published": False})
        await world.api.ask("unpublish", "PATCH", event, token=world.plan.key, body=unpublish)
        await self._post("audit", f"{event}audits/", expected=202)
        export = f"{event}ledger/{next(self._formats)}/"
        await self._read("export", world.plan.key, export)

    async def _follow_feed(self, sale: OpenSale) -> None:
        """From its first entry on."""
        world, path = self._world, f"/api/events/{sale.event}/ledger/{PAGE_OF_FEED}"
        while True:
            await asyncio.sleep(FEED_SECONDS)
            try:
                answer = await world.api.ask("feed", "GET", path, token=world.plan.key)
            except OSError as error:
                world.tally.error("feed: lost", str(error))
                continue
            if answer.status == 200:
                path = path_of(msgspec.json.decode(answer.body, type=_FeedPage).next)

    async def _watch_live(self, sale: OpenSale) -> None:
        """One stream after the other, as somebody who comes and goes."""
        world, path = self._world, f"/api/events/{sale.event}/live/events/"
        while True:
            stay = world.chance.uniform(0.1, 1.0) * LIVE_SECONDS
            await guarded(world, "live", self._watch(path, stay))
            await asyncio.sleep(1.0)

    async def _watch(self, path: str, seconds: float) -> None:
        # It does not end by itself.
        with suppress(TimeoutError):
            await self._world.api.stream("live", path, self._world.plan.key, b"\0", seconds)

    async def _post(
        self, what: str, path: str, fields: dict[str, int] | None = None, expected: int = 200
    ) -> None:
        await self._world.api.ask(
            what,
            "POST",
            path,
            token=self._world.plan.key,
            body=msgspec.json.encode(fields) if fields else b"",
            headers={"Idempotency-Key": f'"{uuid4()}"'},
            expected=(expected,),
        )

    async def _read(self, what: str, token: str, path: str) -> None:
        answer = await self._world.api.ask(what, "GET", path, token=token)
        if answer.status == 200:
            self._world.tally.count(what)
