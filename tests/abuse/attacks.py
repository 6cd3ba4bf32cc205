"""What an attacker does. Each function runs in the attacker's process until it is cancelled.

Rates are bounded, so that what is measured is what a request does, and not how many a machine can
send: more than this per second from one address is for a proxy to refuse (docs/operations.md).
"""

import asyncio
import base64
import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from itertools import count

from loadtests.selling import PURCHASES
from tests.abuse.scene import Scene
from tests.abuse.wire import SENT, Attack, Attacker, Line, Pace, Target, request

# Long enough for a server to act on the head before the body comes.
BETWEEN_HEAD_AND_BODY_SECONDS = 0.1
SECOND_ANSWER_SECONDS = 0.3
BLOCK = b"a" * 65_536
# A line of a gigabit.
BLOCKS_PER_SECOND = 1_600
# Pieces of those who do not read: what is measured is what they hold, and not how they begin.
UNREAD_PER_SECOND = 100
# Labels beside statuses. An attack that gets one of these has done harm by that alone.
SMUGGLED = "smuggled"
ANSWER_LOST = "stored, but refused"


@dataclass(frozen=True)
class Abuse:
    """`before`: brings about what the attack needs, for as long as it runs."""

    attack: Attack
    before: Callable[[Scene], AbstractContextManager[Target]] = Scene.nothing

    @property
    def name(self) -> str:
        function: Callable[..., object] = self.attack
        return function.__name__.replace("_", "-")

    @property
    def does(self) -> str:
        return (self.attack.__doc__ or "").partition("\n")[0]


# --- single requests that did harm -----------------------------------------------------------


async def upgrade(attacker: Attacker) -> None:
    """A head with Upgrade, and a body that looks like a request: one answer, never two."""
    target, numbers = attacker.target, count()
    smuggled = request("GET", "/healthz")
    head = "Connection: Upgrade\r\nUpgrade: foo\r\n"

    async def talk(line: Line) -> None:
        number = next(numbers)
        whole = request("POST", PURCHASES, token=target.token(number), body=smuggled, headers=head)
        line.send(whole.removesuffix(smuggled))
        await asyncio.sleep(BETWEEN_HEAD_AND_BODY_SECONDS)
        line.send(smuggled)
        async with asyncio.timeout(5):
            attacker.counts[str(await line.status())] += 1
        try:
            async with asyncio.timeout(SECOND_ANSWER_SECONDS):
                await line.status()
                attacker.counts[SMUGGLED] += 1
        except TimeoutError:
            pass

    await attacker.each(8, talk)


async def trailing_bytes(attacker: Attacker) -> None:
    """A whole purchase and one byte more in the same packet: the purchase has its answer first."""
    target, numbers = attacker.target, count()
    tails = (b"\0", b"  ", b"}", b"GET /healthz HTTP/9.9\r\n\r\n", b"\x16\x03\x01")

    async def talk(line: Line) -> None:
        number = next(numbers)
        body = _purchase(target.ticket_type)
        whole = request("POST", PURCHASES, token=target.token(number), body=body)
        line.send(whole + tails[number % len(tails)])
        async with asyncio.timeout(5):
            status = await line.status()
        attacker.counts[str(status)] += 1
        if status == 400:
            attacker.counts[ANSWER_LOST] += 1
        await asyncio.sleep(0.1)

    await attacker.each(4, talk)


async def crafted_password(attacker: Attacker) -> None:
    """Registrations whose password is slow to compare with the username."""
    letters = "".join("a" + chr(98 + number % 20) for number in range(512))
    pairs = [("a" * 150, letters), ("ab" * 75, "ba" * 500), ("a" * 150, "a" * 1_000)]
    posts = [("/api/users/", {"username": name, "password": word}) for name, word in pairs]
    await _post_in_turn(attacker, posts, connections=8, per_second=50, token="")


async def combining_marks(attacker: Attacker) -> None:
    """Names and titles of combining marks alone, whose normal form takes a quadratic time."""
    marks = "a" + "\u0315" * 15_900 + "\u0316" * 15_900
    event = {"start_time": "2036-06-05T18:00:00Z", "end_time": "2036-06-05T23:00:00Z"}
    posts = [
        ("/api/token/", {"username": marks, "password": "velvet-tram-42"}),
        ("/api/users/", {"username": marks, "password": "velvet-tram-42"}),
        ("/api/events/", {"title": marks} | event),
        ("/api/events/", {"title": "Concert", "description": marks} | event),
    ]
    await _post_in_turn(attacker, posts, connections=8, per_second=50)


async def nested_token(attacker: Attacker) -> None:
    """A bearer token whose header is nested a thousand times, on every route."""
    paths = ("/api/events/", PURCHASES, "/api/users/me/")
    await _get_in_turn(attacker, paths, connections=16, per_second=200, token=_nested_token())


async def long_path(attacker: Attacker) -> None:
    """The same token with a path that is slow to search for secrets."""
    paths = ["/api/events/" + "eyJ" * 20_000 + "/", "/api/events/" + "eyJa.eyJ" * 7_000 + "/"]
    await _get_in_turn(attacker, paths, connections=4, per_second=20, token=_nested_token())


async def capacity_of_others(attacker: Attacker) -> None:
    """Changes of somebody else's ticket type that is on sale."""
    target = attacker.target
    path = f"/api/ticket-types/{target.ticket_type}/"

    def change(number: int) -> bytes:
        token = target.token(number)
        match number % 4:
            case 0:
                return request("PATCH", path, token=token, body=b'{"name": "Mine"}')
            case 1:
                return request("DELETE", path, token=token)
            case _:
                return request("POST", f"{path}capacity/", token=token, body=b'{"change": 1}')

    await attacker.loop(16, change, per_second=200)


async def searches(attacker: Attacker) -> None:
    """Searches for a hundred words, and for ten that are everywhere, in many long descriptions."""
    words = ("b " * 100, "lorem ipsum " * 5, "l o r e m i p s u", "x" * 190)
    paths = [f"/api/events/?search={'+'.join(text.split())}" for text in words]
    await _get_in_turn(attacker, paths, connections=6, per_second=50)


async def unread_lists(attacker: Attacker) -> None:
    """A hundred connections ask for the largest list and never read it."""
    path = "/api/events/?owner=me&page_size=100"
    one = request("GET", path, token=attacker.target.token(0))
    await _never_read(attacker, 100, one, requests=1)


async def spent_refresh(attacker: Attacker) -> None:
    """400 connections repeat one spent refresh token, and ask whether it is valid."""
    body = _json({"refresh": attacker.target.refresh[0]})
    token_body = _json({"token": attacker.target.refresh[0]})

    def repeat(number: int) -> bytes:
        match number % 4:
            case 0:
                return request("POST", "/api/token/verify/", body=token_body)
            case 1:
                return request("POST", "/api/token/blacklist/", body=body)
            case _:
                return request("POST", "/api/token/refresh/", body=body)

    await attacker.loop(400, repeat, per_second=500)


async def readyz(attacker: Attacker) -> None:
    """30 connections probe."""
    await attacker.loop(30, lambda _: request("GET", "/readyz"), per_second=5_000)


async def locked_row(attacker: Attacker) -> None:
    """Twelve changes of one's own ticket type, whose row a session keeps locked."""
    target = attacker.target
    path = f"/api/ticket-types/{target.own_ticket_type}/"
    patch = request("PATCH", path, token=target.token(0), body=b'{"name": "Again"}')
    await attacker.loop(12, lambda _: patch, per_second=100)


# --- floods ----------------------------------------------------------------------------------


async def registrations(attacker: Attacker) -> None:
    """Registrations of new users."""

    def register(number: int) -> bytes:
        name = f"flood-{secrets.token_hex(6)}-{number}"
        body = _json({"username": name, "password": "velvet-tram-42"})
        return request("POST", "/api/users/", body=body)

    await attacker.loop(50, register, per_second=200)


async def sign_ins_one(attacker: Attacker) -> None:
    """Guesses the password of one account, from 50 addresses."""
    await attacker.loop(
        50, lambda number: _sign_in("victim", f"guess-{number}"), per_second=200, addresses=50
    )


async def sign_ins_many(attacker: Attacker) -> None:
    """Guesses passwords of many accounts, from 50 addresses."""
    await attacker.loop(
        50,
        lambda number: _sign_in(f"user-{number % 1_000}", f"guess-{number}"),
        per_second=200,
        addresses=50,
    )


async def refreshes(attacker: Attacker) -> None:
    """Refreshes with forged tokens, spent ones and no tokens at all."""
    target = attacker.target
    tokens = (*target.refresh, _forged(target.tokens[0]), "x" * 60_000, "")
    posts = [("/api/token/refresh/", {"refresh": token}) for token in tokens]
    await _post_in_turn(attacker, posts, connections=50, per_second=300, token="")


async def forged_tokens(attacker: Attacker) -> None:
    """Tokens with a right header and a wrong signature, a new one each time."""
    await attacker.loop(
        30,
        lambda number: request("GET", PURCHASES, token=_forged(attacker.target.token(number))),
        per_second=500,
    )


async def lists(attacker: Attacker) -> None:
    """The most expensive lists: deep pages, every order, every filter."""
    paths = [
        "/api/events/?page_size=100&ordering=-title",
        "/api/events/?page_size=1&page=20&ordering=-end_time",
        "/api/events/?page_size=100&page=1000000000",
        "/api/ticket-types/?page_size=100",
        f"{PURCHASES}?page_size=100",
        f"{PURCHASES}?page_size=100&page=2&status=confirmed",
    ]
    await _get_in_turn(attacker, paths, connections=30, per_second=200)


async def long_polls(attacker: Attacker) -> None:
    """Two thousand wait for purchases that stay queued."""
    target = attacker.target

    def wait(number: int) -> bytes:
        number %= len(target.queued)
        path = f"{PURCHASES}{target.queued[number]}/?wait=30"
        return request("GET", path, token=target.token(number))

    await attacker.loop(2_000, wait, per_second=1_000)


async def unread_events(attacker: Attacker) -> None:
    """500 follow purchases as event streams and never read."""
    target, numbers = attacker.target, count()
    accept = "Accept: text/event-stream\r\n"

    async def talk(line: Line) -> None:
        number = next(numbers) % len(target.queued)
        path = f"{PURCHASES}{target.queued[number]}/"
        line.send(request("GET", path, token=target.token(number), headers=accept))
        attacker.counts[SENT] += 1
        await asyncio.Event().wait()

    await attacker.each(500, talk, reads=False)


async def slow_bodies(attacker: Attacker) -> None:
    """500 send a body byte by byte."""

    async def talk(line: Line) -> None:
        whole = request("POST", PURCHASES, token=attacker.target.token(0), body=BLOCK[:1_000])
        await _drip(attacker, line, whole.removesuffix(BLOCK[:1_000]), BLOCK[:1_000])

    await attacker.each(500, talk)


async def slow_heads(attacker: Attacker) -> None:
    """500 send a head byte by byte."""

    async def talk(line: Line) -> None:
        await _drip(attacker, line, b"GET /healthz HTTP/1.1\r\nX-Slow: ", BLOCK[:1_000])

    await attacker.each(500, talk)


async def idle(attacker: Attacker) -> None:
    """Two thousand connections on which nothing is sent."""

    async def talk(line: Line) -> None:
        await line.closed()
        attacker.counts["closed"] += 1

    await attacker.each(2_000, talk)


async def pipelined_unread(attacker: Attacker) -> None:
    """50 send request after request for a list and read no answer."""
    one = request("GET", "/api/events/?page_size=100", token=attacker.target.token(0))
    await _never_read(attacker, 50, one * 10, requests=10, times=200)


async def pipelined_small(attacker: Attacker) -> None:
    """100 send six thousand requests of 45 bytes in one piece and read no answer."""
    one = b"GET /api/schema/ HTTP/1.1\r\nHost: a.example\r\n\r\n"
    await _never_read(attacker, 100, one * 6_000, requests=6_000)


async def unread_metrics(attacker: Attacker) -> None:
    """200 ask for the metrics and the OpenAPI document and never read them."""
    one = request("GET", "/api/schema/") + request("GET", "/metrics")
    await _never_read(attacker, 200, one * 10, requests=20)


async def unknown_routes(attacker: Attacker) -> None:
    """Paths, methods and queries that do not exist, new ones each time."""
    methods = ("GET", "POST", "DELETE", "BREW", "OPTIONS")

    def ask(number: int) -> bytes:
        path = f"/{secrets.token_hex(8)}/" if number % 2 else f"/api/{secrets.token_hex(8)}"
        return request(methods[number % len(methods)], path, body=b"{}")

    await attacker.loop(30, ask, per_second=500)


async def metrics_and_schema(attacker: Attacker) -> None:
    """The metrics, the OpenAPI document and the docs page, again and again."""
    paths = ("/metrics", "/api/schema/", "/api/docs/", "/.well-known/jwks.json")
    await _get_in_turn(attacker, paths, connections=30, per_second=200, token="")


async def big_bodies(attacker: Attacker) -> None:
    """Bodies of 10 MB, to every kind of route."""
    paths = (PURCHASES, "/api/events/", "/api/token/")
    numbers, pace = count(), Pace(BLOCKS_PER_SECOND)

    async def talk(line: Line) -> None:
        number = next(numbers)
        token = attacker.target.token(number)
        head = request(
            "POST",
            paths[number % len(paths)],
            token=token,
            headers="Transfer-Encoding: chunked\r\n",
        )
        line.send(head)
        chunk = b"10000\r\n" + BLOCK + b"\r\n"
        reading = asyncio.ensure_future(line.status())
        try:
            async with asyncio.timeout(10):
                for _ in range(160):
                    await pace.turn()
                    await line.send_all(chunk)
                    if reading.done():
                        break
                attacker.counts[str(await reading)] += 1
        finally:
            reading.cancel()

    await attacker.each(20, talk)


async def nested_bodies(attacker: Attacker) -> None:
    """Bodies that are nested, huge numbers, or full of fields."""
    target = attacker.target
    bodies = [
        b"[" * 60_000,
        b'{"ticket_type": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"ticket_type": 1, "quantity": ' + b"9" * 60_000 + b"}",
        b"{" + b",".join(b'"k%d": 1' % number for number in range(5_000)) + b"}",
        b'{"ticket_type": 1, "quantity": 1e' + b"9" * 5_000 + b"}",
        b'"' + b"\\u0000" * 10_000 + b'"',
    ]
    paths = (PURCHASES, "/api/events/", "/api/users/", "/api/token/verify/")

    def post(number: int) -> bytes:
        return request(
            "POST",
            paths[number // len(bodies) % len(paths)],
            token=target.token(number),
            body=bodies[number % len(bodies)],
        )

    await attacker.loop(16, post, per_second=100)


async def large_heads(attacker: Attacker) -> None:
    """Heads of 60 kB: many header fields, long values, long queries."""
    target = attacker.target
    heads = [
        "".join(f"X-{number}: {'a' * 20}\r\n" for number in range(2_000)),
        f"Prefer: {'wait=1, ' * 7_000}\r\n",
        f"Accept: {'text/event-stream;q=0.1,' * 2_000}\r\n",
        f"If-None-Match: {','.join(['W/x'] * 10_000)}\r\n",
        'Cookie: a="' + "\\" * 60_000 + '"\r\n',
    ]
    path = f"{PURCHASES}{target.queued[0]}/" if target.queued else PURCHASES
    paths = (path, "/api/events/", f"/api/events/?{'a=b&' * 1_000}", "/healthz")

    def ask(number: int) -> bytes:
        return request(
            "GET",
            paths[number % len(paths)],
            token=target.token(0),
            headers=heads[number % len(heads)],
        )

    await attacker.loop(16, ask, per_second=100)


async def purchases_of_one(attacker: Attacker) -> None:
    """One user buys as fast as he can, with and without waiting."""
    target = attacker.target
    body = _purchase(target.ticket_type)

    def buy(number: int) -> bytes:
        wait = "Prefer: wait=30\r\n" if number % 2 else ""
        return request("POST", PURCHASES, token=target.token(0), body=body, headers=wait)

    await attacker.loop(50, buy, per_second=500)


async def new_connections(attacker: Attacker) -> None:
    """A new connection for each request."""

    async def talk(line: Line) -> None:
        attacker.counts[str(await line.ask(request("GET", "/healthz")))] += 1

    await attacker.each(20, talk)


# --- the control -----------------------------------------------------------------------------


def harmless(connections: int, per_second: float) -> Attack:
    """So many connections that ask for nothing but `/healthz`, at the rate of an attack."""
    return partial(_harmless, connections=connections, per_second=per_second)


async def _harmless(attacker: Attacker, *, connections: int, per_second: float) -> None:
    await attacker.loop(connections, lambda _: request("GET", "/healthz"), per_second=per_second)


# --- parts of the above ----------------------------------------------------------------------


async def _get_in_turn(
    attacker: Attacker,
    paths: Sequence[str],
    *,
    connections: int,
    per_second: float,
    token: str | None = None,
) -> None:
    """Read these paths in turn, with this token or those of the attacker's users in turn."""

    def get(number: int) -> bytes:
        own = attacker.target.token(number) if token is None else token
        return request("GET", paths[number % len(paths)], token=own)

    await attacker.loop(connections, get, per_second=per_second)


async def _post_in_turn(
    attacker: Attacker,
    posts: Sequence[tuple[str, dict[str, str]]],
    *,
    connections: int,
    per_second: float,
    token: str | None = None,
) -> None:
    """The same with these paths and bodies."""
    encoded = [(path, json.dumps(body, ensure_ascii=False).encode()) for path, body in posts]

    def post(number: int) -> bytes:
        own = attacker.target.token(number) if token is None else token
        path, body = encoded[number % len(encoded)]
        return request("POST", path, token=own, body=body)

    await attacker.loop(connections, post, per_second=per_second)


async def _never_read(
    attacker: Attacker, connections: int, piece: bytes, *, requests: int, times: int = 1
) -> None:
    """Send a piece of so many requests on each connection, again and again or once."""
    pace = Pace(UNREAD_PER_SECOND)

    async def talk(line: Line) -> None:
        for _ in range(times):
            await pace.turn()
            await line.send_all(piece)
            attacker.counts[SENT] += requests
        await line.closed()

    await attacker.each(connections, talk, reads=False)


async def _drip(attacker: Attacker, line: Line, at_once: bytes, slowly: bytes) -> None:
    line.send(at_once)
    answered = asyncio.ensure_future(line.status())
    try:
        for number in range(len(slowly)):
            line.send(slowly[number : number + 1])
            done, _ = await asyncio.wait([answered], timeout=1)
            if done:
                break
        attacker.counts[str(await answered)] += 1
    finally:
        answered.cancel()


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


def _purchase(ticket_type: int) -> bytes:
    return _json({"ticket_type": ticket_type, "quantity": 1})


def _sign_in(username: str, password: str) -> bytes:
    body = _json({"username": username, "password": password})
    return request("POST", "/api/token/", body=body)


def _nested_token() -> str:
    nested = b'{"x":' + b"[" * 1_000 + b"]" * 1_000 + b"}"
    return base64.urlsafe_b64encode(nested).decode().rstrip("=") + ".e30.AA"


def _forged(token: str) -> str:
    """The token with a signature that is right in form only."""
    signed, _, signature = token.rpartition(".")
    random = base64.urlsafe_b64encode(secrets.token_bytes(len(signature) * 3 // 4)).decode()
    return f"{signed}.{random.rstrip('=')[: len(signature)]}"


BEFORE: dict[Attack, Callable[[Scene], AbstractContextManager[Target]]] = {
    searches: Scene.long_events,
    unread_lists: Scene.long_events,
    spent_refresh: Scene.spent_token,
    locked_row: Scene.locked_ticket_type,
    refreshes: Scene.spent_token,
    lists: Scene.long_events,
    long_polls: Scene.queued_purchases,
    unread_events: Scene.queued_purchases,
    pipelined_unread: Scene.long_events,
    large_heads: Scene.queued_purchases,
}
# Every coroutine function of this module with a public name.
ABUSES = {
    abuse.name: abuse
    for name, attack in list(globals().items())
    if iscoroutinefunction(attack) and not name.startswith("_")
    for abuse in [Abuse(attack, BEFORE.get(attack, Scene.nothing))]
}
