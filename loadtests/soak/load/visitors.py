"""People who only look, and people who sign in, stay for a while and leave."""

import asyncio
from itertools import count

import msgspec

from loadtests.answers import ClientResponse
from loadtests.soak.load.plan import ACCOUNTS
from loadtests.soak.load.world import World, guarded

# Of the rate of purchases: those who look at a page and its sale.
VISITORS = 0.1
SIGN_INS_PER_SECOND = 1.0
REFRESHES = 5
ADDRESSES = 20
# Of a thousand tokens that buy: more would make few accounts buy most, up to their limits.
BUYING = 20
# Of sign-ins that are by somebody new, and of those that end by a sign-out.
NEW_ACCOUNTS, SIGN_OUTS = 0.1, 0.5
PASSWORD = "correct horse battery"


class _Tokens(msgspec.Struct):
    access: str
    refresh: str


class Visitors:
    def __init__(self, world: World) -> None:
        self._world = world
        self._etags: dict[str, str] = {}
        self._accounts = [f"visitor-{number}" for number in range(ACCOUNTS)]
        self._numbers = count(ACCOUNTS)

    async def register_all(self) -> None:
        """The accounts that sign in again and again."""
        for username in self._accounts:
            await self._register(username)

    async def look(self) -> None:
        """Without end: a page, its sale, and the list of sales."""
        world = self._world
        while True:
            await asyncio.sleep(world.chance.expovariate(VISITORS * world.plan.per_second))
            sale = world.any_sale()
            path = world.chance.choice(
                ["/", f"/events/{sale.event}/", "/api/sales/", f"/api/sales/{sale.event}/"]
            )
            await guarded(world, "visitor", self._read(path))

    async def sign_in_and_out(self) -> None:
        """Without end: sign-ins, each with its refreshes."""
        world = self._world
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(world.chance.expovariate(SIGN_INS_PER_SECOND))
                group.create_task(guarded(world, "sign-in", self._stay()))

    async def _read(self, path: str) -> None:
        headers = {"If-None-Match": self._etags[path]} if path in self._etags else {}
        answer = await self._world.api.ask(
            "page", "GET", path, token="", headers=headers, expected=(200, 304)
        )
        if len(self._etags) > 100:  # of sales that are over
            self._etags.clear()
        if etag := answer.headers.get("etag"):
            self._etags[path] = etag
        self._world.tally.count("pages and sale documents")

    async def _stay(self) -> None:
        """As long as a tenth of a sale; its tokens are also used to buy."""
        world = self._world
        username = world.chance.choice(self._accounts)
        if world.by_chance(NEW_ACCOUNTS):
            username = f"visitor-{next(self._numbers)}"
            await self._register(username)
        tokens = await self._tokens({"username": username, "password": PASSWORD}, "")
        for _ in range(REFRESHES):
            if tokens is None:
                return
            world.tokens[world.chance.randrange(BUYING)] = tokens.access
            await asyncio.sleep(world.chance.uniform(0.02, 0.1) * world.plan.sale_seconds)
            tokens = await self._tokens({"refresh": tokens.refresh}, "refresh/")
        if tokens is not None and world.by_chance(SIGN_OUTS):
            await self._post("sign-out", "/api/token/blacklist/", {"refresh": tokens.refresh}, 200)

    async def _tokens(self, fields: dict[str, str], path: str) -> _Tokens | None:
        what = "refresh" if path else "sign-in"
        answer = await self._post(what, f"/api/token/{path}", fields, 200)
        if answer.status != 200:
            return None
        return msgspec.json.decode(answer.body, type=_Tokens)

    async def _register(self, username: str) -> None:
        fields = {"username": username, "password": PASSWORD}
        await self._post("registration", "/api/users/", fields, 201)

    async def _post(
        self, what: str, path: str, fields: dict[str, str], expected: int
    ) -> ClientResponse:
        """From one of a few addresses, which a proxy names: limits are for each."""
        chance = self._world.chance
        address = f"10.0.0.{chance.randrange(ADDRESSES)}"
        answer = await self._world.api.ask(
            what,
            "POST",
            path,
            token="",
            body=msgspec.json.encode(fields),
            headers={"X-Forwarded-For": address},
            expected=(expected,),
        )
        self._world.tally.count(what)
        return answer
