"""Whose tokens `eventify token` mints."""

import pytest

from shared.auth.mint_tokens import user_names
from shared.errors import ConfigurationError


def test_without_a_count_it_is_the_user_of_that_name() -> None:
    assert user_names("ada", None) == ["ada"]


def test_a_name_has_the_spelling_that_the_gateway_gives_it() -> None:
    assert user_names("ﬁne", None) == ["fine"]


def test_with_a_count_the_users_are_numbered_from_one() -> None:
    assert user_names("ada", 3) == ["ada1", "ada2", "ada3"]


@pytest.mark.parametrize(
    ("name", "count"),
    [("", None), ("a b", None), ("\udc80", None), ("x" * 151, None), ("x" * 150, 1), ("ada", 0)],
)
def test_an_invalid_username_is_an_error(name: str, count: int | None) -> None:
    with pytest.raises(ConfigurationError):
        user_names(name, count)
