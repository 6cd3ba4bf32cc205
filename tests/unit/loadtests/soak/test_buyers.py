"""A purchase is decided while its buyer waits, in whichever way, or it is an error of the run."""

import asyncio
import re
import time
from collections.abc import Sequence

import msgspec
import pytest

from loadtests.soak.load import buyers
from loadtests.soak.load.api import Api
from loadtests.soak.load.plan import LoadPlan
from loadtests.soak.load.tally import NOTHING_DECIDED, LoadTally
from loadtests.soak.load.world import OpenSale, World

# Far longer than anything here takes: what hangs fails.
LIMIT_SECONDS = 10.0
Script = dict[str, Sequence[bytes | None]]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def answer(http_status: int, *headers: str, **body: str | None) -> bytes:
    content = msgspec.json.encode({"id": "p-1", **body})
    lines = [f"HTTP/1.1 {http_status} Any", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


def event(name: str) -> bytes:
    text = f"event: {name}\nid: 1\ndata: {{}}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(text), text)


QUEUED, REJECTED = answer(200, status="queued"), answer(200, status="rejected")
REFUSED = answer(503, "Retry-After: 0", status="503")
OUTCOME, POSITION = STREAM + event("outcome") + END, STREAM + event("position")
ENDED = POSITION + END


class Gateway:
    """Answers reads and streams by script, the last one again and again; None: never."""

    def __init__(
        self,
        *reads: bytes | None,
        stream: bytes | None = None,
        post: bytes = answer(202, status="queued"),
    ) -> None:
        self._script: Script = {"POST": [post], "GET": reads, "stream": [stream]}

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split(" ", 2)
                length = re.search(r"Content-Length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                kind = "stream" if path.endswith("/events/") else method
                first, *rest = self._script[kind]
                self._script[kind] = rest or [first]
                if first is None:
                    await reader.read()  # until the client has left
                    return
                writer.write(first)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has left, or the story is over
        finally:
            writer.close()


class CountingTally(LoadTally):
    decided_count = 0

    def decided(self, intended_at: float) -> None:
        super().decided(intended_at)
        self.decided_count += 1


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buyers, "DECIDED_WAIT_SECONDS", 0.3)
    monkeypatch.setattr(buyers, "LEFT_EARLY", 0.0)
    monkeypatch.setattr(buyers, "_pause_seconds", lambda _answer: 0.02)


def buy(gateway: Gateway, way: str, monkeypatch: pytest.MonkeyPatch) -> CountingTally:
    """One purchase by a buyer who waits in this way."""
    monkeypatch.setattr(buyers, "WAYS", {way: 1})

    async def story() -> CountingTally:
        server = await asyncio.start_server(gateway, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        tally = CountingTally()
        tally.begin()
        plan = LoadPlan(
            port=port, environment={}, key="key", per_second=1.0, seconds=1.0,
            sale_seconds=1.0, bucket_seconds=1.0, tokens_seconds=1.0,
        )  # fmt: skip
        world = World(plan, ["token"], tally, Api(port, tally))
        world.sales.append(OpenSale(1, [1], 0.0))
        async with server, asyncio.timeout(LIMIT_SECONDS):
            await buyers.buy(world, time.monotonic())
            world.api.close()
        return tally

    return asyncio.run(story())


@pytest.mark.parametrize("read", [QUEUED, REFUSED], ids=["queued", "refused"])
@pytest.mark.parametrize("way", buyers.WAYS)
def test_what_is_not_decided_in_time_is_an_error(
    way: str, read: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (error, nothing) = buy(Gateway(read, stream=ENDED), way, monkeypatch).report().errors
    assert error.startswith(f"1 times not decided, first: by {way}")
    assert nothing == NOTHING_DECIDED


@pytest.mark.parametrize("stream", [None, POSITION], ids=["never", "positions"])
def test_a_stream_without_an_outcome_in_time_is_an_error(
    stream: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = buy(Gateway(REJECTED, stream=stream), "stream", monkeypatch)
    assert tally.report().errors == ["1 times not decided, first: by stream", NOTHING_DECIDED]


@pytest.mark.parametrize(
    ("way", "reads", "stream"),
    [
        pytest.param("wait", [REJECTED], None, id="in a long poll after the POST"),
        pytest.param("long poll", [REJECTED], None, id="in a long poll"),
        pytest.param("long poll", [QUEUED, REJECTED], None, id="where no request may wait"),
        pytest.param("stream", [REJECTED], OUTCOME, id="in a stream"),
        pytest.param("stream", [REJECTED], REFUSED, id="where the stream is refused"),
        pytest.param("stream", [REJECTED], ENDED, id="where the stream ends early"),
    ],
)
def test_what_is_decided_in_time_has_one_latency(
    way: str, reads: list[bytes], stream: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = buy(Gateway(*reads, stream=stream), way, monkeypatch)
    assert (tally.report().errors, tally.decided_count) == ([], 1)


def test_a_stream_that_is_closed_early_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buyers, "LEFT_EARLY", 1.0)
    tally = buy(Gateway(REJECTED, stream=POSITION), "stream", monkeypatch)
    assert (tally.report().errors, tally.decided_count) == ([], 1)


def test_who_polls_goes_on_until_it_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = buy(Gateway(QUEUED, REJECTED), "poll", monkeypatch)
    # It says nothing of how long the decision took.
    assert (tally.report().errors, tally.decided_count) == ([NOTHING_DECIDED], 0)


def test_what_is_held_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    for share in ("PAID", "RELEASED"):
        monkeypatch.setattr(buyers, share, 0.0)
    tally = buy(Gateway(answer(200, status="held")), "long poll", monkeypatch)
    assert (tally.report().errors, tally.decided_count) == ([], 1)


@pytest.mark.parametrize(("code", "errors"), [("sale_paused", 0), ("sale_not_open", 1)])
def test_a_sale_is_paused_on_purpose_and_open_from_its_beginning(
    code: str, errors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = answer(400, "Retry-After: 30", id=None, code=code)
    found = buy(Gateway(post=refused), "poll", monkeypatch).report().errors
    assert len([error for error in found if error != NOTHING_DECIDED]) == errors
