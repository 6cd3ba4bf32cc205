"""Whatever the rule lets be a username, the database stores, and compares as the rule does."""

import sys
import unicodedata

from sqlalchemy import Engine, text

from shared.auth.usernames import stored_form, username_problem

AS_STORED = text(r"""
SELECT name, lower(name) FROM unnest(CAST(:names AS text[])) AS t (name)
WHERE name IS NFKC NORMALIZED AND name COLLATE "C" ~ '^[\w.@+\-\u0080-\U0010ffff]+$'
""")


def test_of_every_letter_the_database_knows_the_case_and_the_normal_form(engine: Engine) -> None:
    letters = (
        letter
        for letter in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(letter)[0] in "LMN"
    )
    forms = (stored_form(f"a{letter}a") for letter in letters)
    names = {name for name in forms if username_problem(name) is None}
    assert len(names) > 100_000
    with engine.connect() as connection:
        rows = connection.execute(AS_STORED, {"names": [*names]})
        stored = {(row.name, row.lower) for row in rows}
    assert stored == {(name, "".join(map(str.lower, name))) for name in names}
