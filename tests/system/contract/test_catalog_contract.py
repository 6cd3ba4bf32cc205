"""What events and ticket types have in common: verbs, read-only fields, conditional requests."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.system.contract.problems import check_invalid, check_problem
from tests.system.selling import EVENTS, TICKET_TYPES, create, event_fields, ticket_type_fields

# Ids that no row has, or that no row can have.
UNKNOWN_IDS = (
    *("9223372036854775807", "9223372036854775808", "0", "-1", "x", "1.0", "%00", "²", "9" * 5000),
)
WRITES = ("PUT", "PATCH", "DELETE")
# Values of If-Match that name no current state; `{}` stands for its tag.
NO_MATCH = ('"other"', "nonsense", "", "W/{}", "{} {}", '*, "a"')
MATCH = ("{}", "*", '"a" ,\t{}', 'W/"x", {}')


@dataclass(frozen=True)
class Row:
    """A row of a new organiser.

    `body`: as it was created; `newest`: a query whose list begins with it; `text`: its title or
    name; `optional`: a field and its default.
    """

    organiser: httpx.Client
    list: str
    body: dict[str, Any]
    created: httpx.Response
    newest: dict[str, Any]
    text: str
    optional: tuple[str, object]
    required: tuple[str, ...]

    @property
    def view(self) -> dict[str, Any]:
        view: dict[str, Any] = self.created.json()
        return view

    def after(self, answer: httpx.Response, **changes: object) -> dict[str, Any]:
        """The view with these changes, at the time that the answer to them says."""
        updated_at = answer.json()["updated_at"]
        assert updated_at > self.view["updated_at"]
        return self.view | changes | {"updated_at": updated_at}

    @property
    def address(self) -> str:
        return self.created.headers["Location"]

    def ask(self, method: str, *, if_match: str | None = None, **fields: object) -> httpx.Response:
        """A write; a PUT is of all the required fields, with these changed."""
        sent = None if method == "DELETE" else fields
        if method == "PUT":
            sent = {name: self.body[name] for name in self.required} | fields
        headers = {} if if_match is None else {"If-Match": if_match}
        return self.organiser.request(method, self.address, json=sent, headers=headers)


@pytest.fixture(params=["event", "ticket type"])
def row(request: pytest.FixtureRequest, organiser: httpx.Client) -> Row:
    if request.param == "event":
        body = event_fields(description="In three acts.")
        kind: tuple[Any, ...] = ("title", ("description", ""), ("title", "start_time", "end_time"))
        path, newest = EVENTS, {"owner": "me", "ordering": "-id"}
    else:
        event = create(organiser, EVENTS, event_fields())["id"]
        body = ticket_type_fields(event, max_per_user=3)
        kind = ("name", ("max_per_user", None), ("event", "name", "price", "capacity"))
        path, newest = TICKET_TYPES, {"event": event}
    return Row(organiser, path, body, organiser.post(path, json=body), newest, *kind)


def test_post_creates(row: Row) -> None:
    assert row.created.status_code == 201
    assert row.address == f"{row.list}{row.view['id']}/"
    assert row.view[row.text] == row.body[row.text]
    read = row.organiser.get(row.address)
    assert (read.json(), read.headers["ETag"]) == (row.view, row.created.headers["ETag"])
    check_invalid(row.organiser.post(row.list, json={}), *row.required)


def test_get_reads_and_lists(row: Row, buyer: httpx.Client) -> None:
    read = buyer.get(row.address)
    assert (read.status_code, read.json()) == (200, row.view)
    listed = row.organiser.get(row.list, params=row.newest)
    assert (listed.status_code, listed.json()["results"][0]) == (200, row.view)


def test_an_unknown_id_is_not_found(row: Row) -> None:
    for id_ in UNKNOWN_IDS:
        for method in ("GET", *WRITES):
            sent = row.body if method in ("PUT", "PATCH") else None
            answer = row.organiser.request(method, f"{row.list}{id_}/", json=sent)
            check_problem(answer, 404, "not_found")


def test_put_replaces(row: Row) -> None:
    replaced = row.ask("PUT", **{row.text: "Opera"})
    name, default = row.optional
    assert replaced.status_code == 200
    assert replaced.json() == row.after(replaced, **{row.text: "Opera", name: default})
    read = row.organiser.get(row.address)
    assert (read.json(), read.headers["ETag"]) == (replaced.json(), replaced.headers["ETag"])
    check_invalid(row.organiser.put(row.address, json={}), *row.required)


def test_patch_changes(row: Row) -> None:
    changed = row.ask("PATCH", **{row.text: "Opera"})
    assert changed.status_code == 200
    assert changed.json() == row.after(changed, **{row.text: "Opera"})
    assert row.organiser.get(row.address).json() == changed.json()
    assert row.ask("PATCH").json() == changed.json()


def test_delete_deletes(row: Row) -> None:
    deleted = row.ask("DELETE")
    assert (deleted.status_code, deleted.content) == (204, b"")
    check_problem(row.organiser.get(row.address), 404, "not_found")
    check_problem(row.ask("DELETE"), 404, "not_found")


def test_read_only_fields_change_nothing(row: Row) -> None:
    read_only = {"id": 1_000_000, "created_at": "2030-01-01", "updated_at": None} | (
        {"owner": 1_000_000}
        if row.list == EVENTS
        else {"sold": 7, "paused_at": "2030-01-01", "issued": 9}
    )
    created = create(row.organiser, row.list, row.body | read_only)
    own = {name: created[name] for name in ("id", "created_at", "updated_at")}
    assert created == row.view | own
    assert created["id"] != 1_000_000
    for method in ("PUT", "PATCH"):  # what was read is sent back with changes
        answer = row.ask(method, **row.view | read_only | {row.text: method})
        assert answer.status_code == 200
        assert answer.json() == row.after(answer, **{row.text: method})


# --- conditional requests ---


@pytest.mark.parametrize("header", NO_MATCH)
def test_a_write_with_another_etag_answers_412(row: Row, header: str) -> None:
    tag = row.created.headers["ETag"]
    for method in WRITES:
        check_problem(row.ask(method, if_match=header.format(tag, tag)), 412, "precondition_failed")
    assert row.organiser.get(row.address).json() == row.view


@pytest.mark.parametrize("header", MATCH)
def test_a_write_with_the_current_etag_is_done(row: Row, header: str) -> None:
    for method in WRITES:
        tag = row.organiser.get(row.address).headers["ETag"]
        answer = row.ask(method, if_match=header.format(tag))
        assert answer.status_code in (200, 204), answer.text


def test_of_two_writers_who_read_the_same_state_one_is_done(row: Row) -> None:
    read = row.created.headers["ETag"]
    assert row.ask("PATCH", if_match=read, **{row.text: "First"}).status_code == 200
    for method in WRITES:
        check_problem(
            row.ask(method, if_match=read, **{row.text: "2nd"}), 412, "precondition_failed"
        )
    assert row.organiser.get(row.address).json()[row.text] == "First"


def test_a_reader_who_has_the_current_state_is_answered_304(row: Row) -> None:
    tag = row.created.headers["ETag"]
    for method in ("GET", "HEAD"):
        for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = row.organiser.request(method, row.address, headers={"If-None-Match": header})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["ETag"] == tag
        for header in ('"other"', "nonsense", "", f"{tag} x", f"nonsense, {tag}"):
            answer = row.organiser.request(method, row.address, headers={"If-None-Match": header})
            assert answer.status_code == 200, header
