"""Lists of events with rows of former versions, and with descriptions of every length."""

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.integration.catalog.making import make_event, user_id_of
from tests.support.factories import run

PAGE_MAX_BYTES = 300_000


def titles(client: httpx.Client, search: str) -> list[str]:
    page = client.get("/api/events/", params={"owner": "me", "search": search}).json()
    return [event["title"] for event in page["results"]]


def test_an_event_of_a_former_version_is_found(owner: httpx.Client, database: Engine) -> None:
    make_event(owner, title="Jazz night")
    run(database, "UPDATE events SET search_text = NULL")
    assert titles(owner, "NIGHT jazz") == ["Jazz night"]
    assert titles(owner, "blues") == []


def test_a_longer_description_of_a_former_version_stays(
    owner: httpx.Client, database: Engine
) -> None:
    path = f"/api/events/{make_event(owner)['id']}/"
    old = "x" * 60_000
    _describe(database, owner, old)
    assert owner.get(path).json()["description"] == old
    changed = owner.patch(path, json={"title": "Renamed"})
    assert (changed.status_code, changed.json()["description"]) == (200, old)


# Of one byte; of two; and of one byte that JSON writes in two, and in six.
@pytest.mark.parametrize(("letter", "page_size"), [("x", 100), ("é", 97), ("\\", 20), ("\x01", 7)])
def test_a_page_is_bounded_in_bytes_and_leads_to_every_row(
    owner: httpx.Client, database: Engine, page_size: int, letter: str
) -> None:
    made = [make_event(owner)["id"] for _ in range(12)]
    _describe(database, owner, letter * 30_000)
    # Some short ones among them, so that pages of different length follow one another.
    for event_id in made[4:8]:
        assert owner.patch(f"/api/events/{event_id}/", json={"description": ""}).status_code == 200
    url = f"/api/events/?owner=me&page_size={page_size}"
    seen: list[int] = []
    while url is not None:
        answer = owner.get(url)
        assert len(answer.content) < PAGE_MAX_BYTES
        page = answer.json()
        assert page["count"] == 12
        seen += [event["id"] for event in page["results"]]
        last, url = page, page["next"]
    assert seen == made
    # And back again.
    back = [event["id"] for event in last["results"]]
    while last["previous"] is not None:
        last = owner.get(last["previous"]).json()
        back = [event["id"] for event in last["results"]] + back
    assert sorted(set(back)) == made


def _describe(database: Engine, owner: httpx.Client, description: str) -> None:
    """As it was before descriptions were bounded."""
    with database.begin() as connection:
        connection.execute(
            text("UPDATE events SET description = :description WHERE owner_id = :owner"),
            {"description": description, "owner": user_id_of(owner)},
        )
