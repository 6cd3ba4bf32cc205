"""Arrays in PostgreSQL's text format."""

import pytest

from shared.database.prepared_statement import array_literal


@pytest.mark.parametrize(
    ("values", "literal"),
    [
        ([], "{}"),
        ([""], '{""}'),
        (["a", "b, {c}", "NULL"], '{"a","b, {c}","NULL"}'),
        (["a", None, "NULL"], '{"a",NULL,"NULL"}'),
        (['"', "a"], r'{"\"","a"}'),
        (['a","b'], r'{"a\",\"b"}'),
        (["\\", "a"], r'{"\\","a"}'),
        ([1, -2, None], "{1,-2,NULL}"),
        ([b"\x00\xff"], r'{"\\x00ff"}'),
    ],
)
def test_each_value_stays_one_element(values: list[str | int | bytes | None], literal: str) -> None:
    assert array_literal(values) == literal
