"""Which spellings of a name share a limit of wrong passwords."""

import pytest

from gateway.rate_limits.wrong_passwords import account_key
from shared.auth.usernames import TYPED_MAX_CHARACTERS, in_nfkc, stored_form, username_problem


@pytest.mark.parametrize(
    "spellings",
    [
        ("iris", "IRIS", "İris", "irİs", "i\u0307ris"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος", "σίσυφοσ"),
        ("Straße", "STRASSE", "straẞe"),
        ("a\u0301" * 40, "Á" * 40),
    ],
)
def test_spellings_that_may_be_one_account_share_a_limit(spellings: tuple[str, ...]) -> None:
    assert len({account_key(in_nfkc(spelling)) for spelling in spellings}) == 1


def test_the_case_of_no_letter_gives_a_limit_of_its_own() -> None:
    for character in map(chr, range(0x80, 0x1F000)):  # beyond, no script has cases
        name = in_nfkc(character)
        if username_problem(name) is None:
            for cased in (name.lower(), stored_form(name)):
                assert account_key(cased) == account_key(name), ascii(character)


def test_a_text_that_is_no_name_costs_little() -> None:
    for text in ("\u0301" * 31, "é" * (TYPED_MAX_CHARACTERS + 1)):
        assert account_key(text) == text.casefold()
