"""The modules that all pages share, in a real browser."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler

import pytest
from playwright.sync_api import Page

from tests.browser.scripted_server import (
    ScriptedServer,
    responding,
    scripted_server,
    streaming,
)
from tests.browser.visitors import Visitors

SPLIT_ANYWHERE = """async text => {
  const { EventParser } = await core("event-stream");
  const read = pieces => {
    const parser = new EventParser();
    return JSON.stringify([pieces.flatMap(piece => [...parser.feed(piece)]), parser.retryMs]);
  };
  const results = new Set([read([text]), read([...text])]);
  for (let at = 0; at <= text.length; at += 1) {
    results.add(read([text.slice(0, at), text.slice(at)]));
  }
  return [...results].map(JSON.parse);
}"""
FOLLOW = """async ({ count, options = {} }) => {
  const { events } = await core("stream");
  const received = [];
  try {
    for await (const event of events("api/live/", options)) {
      received.push([event.event, event.id, event.data]);
      if (received.length === count) break;
    }
  } catch (error) {
    received.push(["failed", error.status ?? 0, error.code ?? error.name]);
  }
  return received;
}"""
SHIFT_CLOCKS = """([date, monotonic]) => {
  window.clocks ??= [Date.now.bind(Date), performance.now.bind(performance)];
  Date.now = () => clocks[0]() + date;
  performance.now = () => clocks[1]() + monotonic;
}"""
ERROR_OF_SERVER_TIME = """async () => {
  const { clock } = await core("clock");
  return clock.now() - clocks[0]();
}"""
OBSERVE_DATE = """async skewMs => {
  const { clock } = await core("clock");
  clock.observe(new Date(clocks[0]() + skewMs).toUTCString(), true);
}"""
OBSERVE = """async () => {
  const { clock } = await core("clock");
  clock.observe(new Date(clocks[0]()).toISOString());
}"""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def page(visitors: Visitors, server: ScriptedServer) -> Page:
    visitors.expect_problem(f"{server.url}api/")  # as the test has written it
    return server.page(visitors.visitor())


def test_a_stream_is_read_however_it_is_cut(page: Page) -> None:
    lines = [
        *("retry: 1500", ": a comment", "event: live", "id: 7", "data: {", "data:  b:}", "", ""),
        *("data", "", "event: dropped", "id: 8", "", "ignored: x", "data:é", "", "data: lost"),
    ]
    expected = [
        {"event": "live", "id": "7", "data": "{\n b:}"},
        {"event": "message", "id": "7", "data": ""},
        {"event": "message", "id": "8", "data": "é"},
    ]
    for end in ("\n", "\r", "\r\n"):
        assert page.evaluate(SPLIT_ANYWHERE, end.join(lines)) == [[expected, 1500]]


def test_a_stream_that_breaks_off_is_continued(server: ScriptedServer, page: Page) -> None:
    silent = threading.Event()
    for response in (
        streaming(b"retry: 10\nid: 1\nda", b"ta: a\n\nid: 2\ndata: half of"),
        responding(503, Retry_After="0"),
        responding(502, b"<html>"),
        streaming(b"id: 3\ndata: b\n\n", until=silent),
        streaming(b"event: end\ndata: c\n\n", until=silent),
    ):
        server.responses.put(response)
    options = {"silenceMs": 500, "headers": {"X-A": "b"}}
    received = page.evaluate(FOLLOW, {"count": 3, "options": options})
    silent.set()
    assert received == [["message", "1", "a"], ["message", "3", "b"], ["end", "3", "c"]]
    after = [headers["Last-Event-ID"] for headers in server.requests]
    assert after == [None, "1", "1", "1", "3"]
    assert {headers["Accept"] for headers in server.requests} == {"text/event-stream"}
    assert {headers["X-A"] for headers in server.requests} == {"b"}


def test_a_stream_ends_where_no_retry_helps(server: ScriptedServer, page: Page) -> None:
    server.responses.put(responding(204))
    assert page.evaluate(FOLLOW, {"count": 1}) == []
    problem = b'{"code": "not_found", "detail": "Not found."}'
    server.responses.put(responding(404, problem, Content_Type="application/problem+json"))
    assert page.evaluate(FOLLOW, {"count": 1}) == [["failed", 404, "not_found"]]


def test_a_stream_that_is_aborted_asks_no_more(server: ScriptedServer, page: Page) -> None:
    received = page.evaluate(
        """async () => {
          const stop = new AbortController();
          setTimeout(() => stop.abort());
          const { events } = await core("stream");
          return events("api/live/", { signal: stop.signal }).next().catch(error => error.name);
        }"""
    )
    assert received == "AbortError"
    assert len(server.requests) <= 1
    server.responses.put(responding(204))


def test_time_is_the_servers_whatever_this_machine_says(page: Page) -> None:
    hour = 3_600_000
    page.evaluate(SHIFT_CLOCKS, [-5 * hour, 0])
    page.evaluate(OBSERVE)
    assert abs(page.evaluate(ERROR_OF_SERVER_TIME)) < 1_000
    # A stamp from a cache is old, and changes nothing.
    page.evaluate("async () => (await core('clock')).clock.observe('2020-01-01T00:00:00Z')")
    assert abs(page.evaluate(ERROR_OF_SERVER_TIME)) < 1_000
    # It sleeps for an hour, in which only its own clock goes on.
    page.evaluate(SHIFT_CLOCKS, [-5 * hour, -hour])
    assert abs(page.evaluate(ERROR_OF_SERVER_TIME)) < 1_000
    page.evaluate(OBSERVE)
    assert abs(page.evaluate(ERROR_OF_SERVER_TIME)) < 1_000
    # Its owner sets it: the next response puts right what looked like a sleep.
    page.evaluate(SHIFT_CLOCKS, [5 * hour, -hour])
    page.evaluate(OBSERVE)
    assert abs(page.evaluate(ERROR_OF_SERVER_TIME)) < 1_000


def test_a_date_tells_a_clock_that_was_set_from_a_sleep(page: Page) -> None:
    minute = 60_000

    def check(date: int, monotonic: int, *, skew: int = 0, within_ms: int = 1_000) -> None:
        page.evaluate(SHIFT_CLOCKS, [date, monotonic])
        page.evaluate(OBSERVE_DATE, skew)
        assert abs(page.evaluate(ERROR_OF_SERVER_TIME)) < within_ms

    page.evaluate(SHIFT_CLOCKS, [0, 0])
    for observe in (OBSERVE_DATE, OBSERVE):
        page.evaluate(observe, 0)
    check(5 * minute, 0)  # It is set forward,
    check(0, 0)  # and back.
    check(-90 * minute, 0)  # It is set back before it sleeps for an hour.
    check(-90 * minute, -60 * minute)
    # Set forward while it sleeps: `Date` has no fractions.
    check(30 * minute, -90 * minute, within_ms=3_000)
    # Of a slow response, and then of a fast one.
    check(30 * minute, -120 * minute, skew=-20_000, within_ms=21_000)
    check(30 * minute, -120 * minute)
    page.evaluate(OBSERVE)
    assert abs(page.evaluate(ERROR_OF_SERVER_TIME)) < 1_000


def test_the_database_clock_is_preferred_to_that_of_a_gateway(page: Page) -> None:
    fast = """async () => {
      const { clock } = await core("clock");
      clock.observe(new Date(Date.now() + 10_000).toISOString(), true);
    }"""
    page.evaluate(SHIFT_CLOCKS, [0, 0])
    page.evaluate(fast)
    assert page.evaluate(ERROR_OF_SERVER_TIME) > 9_000  # better than the clock of this machine
    page.evaluate(OBSERVE)
    page.evaluate(fast)
    assert abs(page.evaluate(ERROR_OF_SERVER_TIME)) < 1_000


def test_a_request_fails_with_what_the_server_said(server: ScriptedServer, page: Page) -> None:
    failure = """async () => {
      const { request } = await core("api");
      return request("GET", "api/x/").then(
        ({ status, body }) => [status, body],
        ({ status, code, retryAfter, errors }) => [status, code, retryAfter, errors],
      );
    }"""
    json = {"Content_Type": "application/problem+json"}
    for response, expected in (
        (responding(200, b'{"a": 1}', Content_Type="application/json"), [200, {"a": 1}]),
        (responding(429, b'{"code": "b"}', Retry_After="7", **json), [429, "b", 7, {}]),
        (responding(400, b'{"code": "c", "errors": {"d": ["e"]}}', **json), None),
        (responding(204), [204, None]),
        # Not of the API.
        (responding(502, b"<html>", Retry_After="7"), [0, "unavailable", 7, {}]),
        (responding(403, b"<html>", Content_Type="text/html"), [0, "unavailable", None, {}]),
        (responding(200, b"<html>", Content_Type="text/html"), [0, "unavailable", None, {}]),
        (responding(200, b"{", Content_Type="application/json"), [0, "unavailable", None, {}]),
        (responding(200), [0, "unavailable", None, {}]),
        (lambda handler: handler.connection.close(), [0, "network", None, {}]),
    ):
        server.responses.put(response)
        assert page.evaluate(failure) == (expected or [400, "c", None, {"d": ["e"]}])


def test_a_request_without_a_whole_response_is_given_up(server: ScriptedServer, page: Page) -> None:
    silent = threading.Event()

    def break_off(handler: BaseHTTPRequestHandler, status: int | None) -> None:
        if status is not None:
            responding(status, b'{"code": ', Content_Type="application/json")(handler)
        silent.wait(10)

    for status in (None, 200, 400):
        server.responses.put(partial(break_off, status=status))
        code = page.evaluate(
            """async () => {
              const { request } = await core("api");
              return request("GET", "api/x/", { timeoutMs: 500 }).catch(error => error.code);
            }"""
        )
        assert code == "network"
    silent.set()


def test_texts_are_never_html(page: Page) -> None:
    shown = page.evaluate(
        """async () => {
          const { el, fill } = await core("dom");
          let pressed = 0;
          const button = el("button", { type: "button", hidden: false, onclick: () => pressed++ },
            "<b>", ["two", null, 3]);
          fill(document.body, button);
          button.click();
          return [document.body.innerHTML, pressed];
        }"""
    )
    assert shown == ['<button type="button">&lt;b&gt;two3</button>', 1]


def test_numbers_are_written_as_the_visitor_writes_them(
    visitors: Visitors, server: ScriptedServer
) -> None:
    page = server.page(visitors.visitor(locale="de-DE", timezone_id="Europe/Berlin"))
    written = page.evaluate(
        """async () => {
          const { money, number, dateTime, duration } = await core("format");
          return [money("1234.50", "EUR"), number(12345), dateTime("2026-11-29T23:30:00Z"),
            ...[7500, 59.6, 0, 90061].map(duration)];
        }"""
    )
    assert [text.replace("\xa0", " ") for text in written] == [
        *("1.234,50 €", "12.345", "30.11.2026, 00:30"),
        *("2 hours 5 minutes", "1 minute", "0 seconds", "1 day 1 hour"),
    ]
