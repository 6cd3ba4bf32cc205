"""The snippets of the API guide work, and it lists every error and limit."""

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.config.settings import Settings
from shared.errors import problem_classes, problem_of_each_code
from tests.system.conftest import Shop
from tests.system.operators import PROJECT
from tests.system.selling import WAIT, buy, put_on_sale

GUIDE = (PROJECT / "docs" / "api.md").read_text()
GUIDE_URL = "http://localhost:8000"
# In the order of the guide: languages of snippets, and of what they print.
SNIPPETS = ("bash", "python")
SHOWN = ("json", "http", "text")
BETWEEN_SNIPPETS = "----- the next snippet -----"
# Differs between runs.
VARYING = {
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "<uuid>",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z": "<time>",
    r"eyJ[\w.-]+": "<token>",
    r"cursor=[\w-]+": "<cursor>",
    r'"seconds_left":\d+': "<seconds>",
    r'(epoch=|"epoch":")[0-9a-f]{12}': r"\1<epoch>",
    r'("user":)\d+|(/events/)\d+/': r"\1\2<id>",
    r'("id":|"event":|"ticket_type":|[?&](?:ticket_type|event)=)\d+': r"\1<id>",
    r'^(etag: "|id: )[0-9a-f]+': r"\1<version>",
}


def blocks() -> list[tuple[str, str]]:
    """The language and text of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, flags=re.DOTALL | re.MULTILINE)


def snippets(wanted: str) -> list[tuple[str, str, str]]:
    """Each snippet of a language, and the language and text of what is shown below it, if any."""
    following = [*blocks()[1:], ("", "")]
    return [
        (snippet, *(after if after[0] in SHOWN else ("", "")))
        for (language, snippet), after in zip(blocks(), following, strict=True)
        if language == wanted
    ]


def run_all(language: str, folder: Path, url: str) -> list[str]:
    """What each snippet of a language printed, run in one session so that variables carry over."""
    program, first_line, separate = {
        "bash": ("bash", "set -euo pipefail", f"echo '{BETWEEN_SNIPPETS}'"),
        "python": (sys.executable, "", f"print('{BETWEEN_SNIPPETS}')"),
    }[language]
    typed = [first_line, *(f"{snippet}\n{separate}" for snippet, *_ in snippets(language))]
    ended = subprocess.run(
        [program, "-c", "\n".join(typed).replace(GUIDE_URL, url)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT / "sdk" / "python")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.replace(url, GUIDE_URL).split(BETWEEN_SNIPPETS)[:-1]


def normal(text: str) -> str:
    for pattern, name in VARYING.items():
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text.strip()


def compact(text: str) -> str:
    """Without white space: the guide breaks long lines."""
    return "".join(normal(text).split())


def check_shown(language: str, shown: str, printed: str, snippet: str) -> None:
    """What is shown was printed; of an HTTP answer, headers may be left out."""
    if language == "http":
        shown_head, _, shown = normal(shown).partition("\n\n")
        printed_head, _, printed = normal(printed.replace("\r", "")).partition("\n\n")
        assert shown_head.splitlines()[0] == printed_head.splitlines()[0], snippet
        assert set(shown_head.splitlines()) <= set(printed_head.splitlines()), snippet
    assert compact(shown) == compact(printed), snippet


def test_every_snippet_prints_what_the_guide_shows(shop: Shop, tmp_path: Path) -> None:
    for language in SNIPPETS:
        printed = run_all(language, tmp_path, shop.url)
        for (snippet, kind, shown), output in zip(snippets(language), printed, strict=True):
            check_shown(kind, shown, output, snippet)


def test_the_table_of_errors_explains_every_code() -> None:
    table = re.findall(r"^\| \d{3} \| <a id=.*$", GUIDE, flags=re.MULTILINE)
    assert table == [
        f'| {each.status} | <a id="{each.code}"></a>`{each.code}`'
        f" | {each.when} | {each.what_to_do} |"
        for each in problem_of_each_code()
    ]
    for problem in problem_classes():
        if "code" in vars(problem):
            assert {"when", "what_to_do"} <= vars(problem).keys(), problem


def test_the_type_of_a_problem_leads_to_the_text_about_its_code(shop: Shop) -> None:
    problem = shop.client().get("/api/users/me/").json()
    page, _, code = problem["type"].partition("#")
    text = httpx.get(page).text
    assert code == problem["code"]
    assert f'<section id="{code}">' in text
    assert "There is no <code>Authorization: Bearer</code> header" in text


def test_the_table_of_limits_has_the_defaults_of_the_settings() -> None:
    table = re.findall(r"\| `EVENTIFY_(\w+)` \| ([\d,.]+) \|", GUIDE)
    assert len(table) > 10
    for name, shown in table:
        assert float(shown.replace(",", "")) == Settings.model_fields[name.lower()].default, name


# --- the follower in Python ---


class Unreliable(httpx.BaseTransport):
    """A transport to the real gateway; each of `troubles` affects one request.

    None: the request arrives, and its response is lost. A response: it replaces the gateway's.
    """

    def __init__(self, *troubles: httpx.Response | None) -> None:
        self._way = httpx.HTTPTransport(verify=False)
        self._troubles = iter(troubles)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for trouble in self._troubles:
            if trouble is not None:
                return trouble
            self._way.handle_request(request).read()
            raise httpx.ReadError("the connection was lost")
        return self._way.handle_request(request)

    def close(self) -> None:
        self._way.close()


@pytest.fixture(scope="module")
def follower() -> dict[str, Any]:
    """The names that the guide's follower of a feed defines."""
    (code,) = (snippet for snippet, *_ in snippets("python") if "def follow(" in snippet)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_the_follower_stores_each_entry_once_and_begins_again_after_a_restore(
    follower: dict[str, Any], shop: Shop, tmp_path: Path
) -> None:
    owner = shop.user()
    ticket_type = put_on_sale(owner, 10)
    event = owner.get(f"/api/ticket-types/{ticket_type}/").json()["event"]
    buy(owner, ticket_type, **WAIT)
    busy = httpx.Response(429, headers={"Retry-After": "7"})

    def stored(*troubles: httpx.Response | None) -> tuple[list[float], list[int]]:
        """The waits, and the numbers, after a start of the program."""
        with (
            closing(sqlite3.connect(tmp_path / "sale.db")) as database,
            by_way_of(Unreliable(*troubles), owner) as client,
        ):
            database.executescript(follower["TABLES"])
            pages = len(troubles) + 1
            waits = [follower["store_next_page"](client, event, database) for _ in range(pages)]
            rows = database.execute("SELECT number FROM entries ORDER BY number").fetchall()
            return waits, [number for (number,) in rows]

    assert stored(busy, None) == ([7, 1, 0], [1, 2])
    buy(owner, ticket_type, **WAIT)
    assert stored() == ([0], [1, 2, 3])
    with closing(sqlite3.connect(tmp_path / "sale.db")) as database, database:
        (saved,) = database.execute("SELECT next FROM progress").fetchone()
        assert "wait=20" in saved
        another = re.sub("epoch=[0-9a-f]{12}", "epoch=000000000000", saved)
        database.execute("UPDATE progress SET next = ?", [another])
        database.execute("INSERT INTO entries VALUES (?, 4, '{}')", [event])
    assert stored() == ([0], [])
    assert stored() == ([0], [1, 2, 3])


def by_way_of(transport: httpx.BaseTransport, buyer: httpx.Client) -> httpx.Client:
    return httpx.Client(
        base_url=buyer.base_url, headers=buyer.headers, transport=transport, timeout=40
    )
