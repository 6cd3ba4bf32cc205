"""Cursors of lists."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shared.row_ids import MAX_ID
from shared.web.cursors import MAX_CHARACTERS, Id, Text, Time, decoded, encoded, name_of

ids = st.integers(1, MAX_ID)
times = st.datetimes(timezones=st.just(UTC))
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
NAME = name_of("/events/", [("ordering", "title")])


@given(ids, times, texts)
@example(1, datetime(1, 1, 1, tzinfo=UTC), '"\\' * 100)
@example(1, datetime(1, 1, 1, tzinfo=UTC), "\U0010ffff" * 200)
def test_a_cursor_is_the_key_that_it_was_made_of(id_: int, time: datetime, text: str) -> None:
    for kinds, key in ((Id,), (id_,)), ((Time, Id), (time, id_)), ((Text, Id), (text, id_)):
        cursor = encoded(NAME, key)
        assert len(cursor) <= MAX_CHARACTERS
        assert decoded(cursor, NAME, *kinds) == key


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
@example("")
@example("é")
@example("A" * MAX_CHARACTERS)
@example(encoded(NAME, (1,)) + "A")
@example(encoded(NAME, (1,))[1:])
def test_what_is_no_cursor_is_a_value_error(text: str) -> None:
    assume(text != encoded(NAME, (1,)))
    with pytest.raises(ValueError):
        decoded(text, NAME, Id)


@pytest.mark.parametrize(
    ("key", "kinds"),
    [
        *(((id_,), (Id,)) for id_ in (0, -1, MAX_ID + 1, "1", 1.5, None, True)),
        *((key, (Id,)) for key in ((), (1, 2))),
        (("a\0", 1), (Text, Id)),
        (("a" * 201, 1), (Text, Id)),
        (("yesterday", 1), (Time, Id)),
        ((datetime(2027, 1, 1), 1), (Time, Id)),  # noqa: DTZ001 - a time without its offset
    ],
)
def test_a_key_of_another_form_is_none(key: tuple[object, ...], kinds: tuple[object, ...]) -> None:
    with pytest.raises(ValueError):
        decoded(encoded(NAME, key), NAME, *kinds)


def test_a_cursor_is_of_one_list() -> None:
    cursor = encoded(name_of("/events/", [("search", "a"), ("owner", "me")]), (7,))
    assert decoded(cursor, name_of("/events/", [("owner", "me"), ("search", "a")]), Id) == (7,)
    for path, filters in (
        ("/events/", [("owner", "me")]),
        ("/events/", [("owner", "a"), ("search", "me")]),
        ("/ticket-types/", [("owner", "me"), ("search", "a")]),
    ):
        with pytest.raises(ValueError, match="another list"):
            decoded(cursor, name_of(path, filters), Id)
