"""Valid usernames, and which spellings are the same name."""

import time
import unicodedata

import pytest

from shared.auth.usernames import in_nfkc, stored_form, username_problem


def problem(typed: str) -> str | None:
    return username_problem(stored_form(typed))


@pytest.mark.parametrize(
    "name",
    [
        *("ana", "Ana.B+c@d-e_7", "_", "..", "7"),
        *("अनिता", "ประยุทธ์", "தமிழ்", "ਗੁਰਪ੍ਰੀਤ", "সুমিত্রা", "සුනිල්"),
        *("សុខា", "ကျော်", "ລາວ", "བསྟན", "አበበ", "ᏣᎳᎩ"),
        *("محمد", "مُحَمَّد", "יוסף", "יוֹסֵף", "ܐܒܪܗܡ", "ދިވެހި"),
        *("Γιώργος", "ΓΙΏΡΓΟΣ", "Олена", "Weiß", "İrem", "Zoë", "Zoe\u0308", "Նարեկ", "ნინო"),
        *("山田太郎", "さくら", "サクラ", "김민수", "\u1100\u1175\u11b7", "Nguyễn", "ﬁn"),
        "क्\u200dष",  # ZWJ after a virama
        "می\u200cخواهم",  # ZWNJ between two letters that would join
        "x" * 150,
        "नि" * 75,
        "e\u0301" * 150,  # composed
    ],
)
def test_names_of_all_scripts_are_usernames(name: str) -> None:
    assert problem(name) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "a b", "a\tb", "a\n", "a/b", "a:b", "a'b", "a\x00", "\ud800", "a\x7f", "\x85"),
        *("\u0301", "\u0301ana", "\u0e31ก", "-\u0301", "a.\u0301", "@\u093f"),  # no letter to mark
        *("\u200d", "\u200c", "\u200d\u200d", "a\u200d", "a\u200db", "\u200dana", "ana\u200c"),
        "क्\u200d",  # nothing to join
        "دا\u200cد",  # an alef joins nothing
        *("\u200b", "\u2060", "\ufeff", "\u00ad", "\u202e", "a\u202eb", "\u2066a", "\U000e0041"),
        *("\u3164", "\u115f", "\u1160", "\uffa0", "a\ufe0f", "a\u034f", "a\U000e0100", "\u17b4"),
        *("\u2800", "\u00a0", "\u3000", "a\u20dd", "😀", "a😀", "\ue000", "\u0378", "½", "℀"),
        *("x" * 151, "e\u0301" * 151, "\ufdfa" * 10, "a" * 100_000),
    ],
)
def test_unreadable_text_is_not_a_username(text: str) -> None:
    assert problem(text) is not None


@pytest.mark.parametrize(
    "spellings",
    [
        ("Zoë", "Zoe\u0308", "ZOË", "zoe\u0308"),
        ("ana", "ＡＮＡ", "ＡnＡ"),
        ("Γιώργος", "ΓΙΏΡΓΟΣ", "γιώργος", "ΓΙΩ\u0301ΡΓΟΣ"),
        ("J\u030can", "ǰan", "J\u030cAN"),
        ("İrem", "i\u0307rem", "İREM"),
        ("김", "\u1100\u1175\u11b7"),
        ("ОЛЕНА", "олена"),
    ],
)
def test_spellings_of_one_name_are_found_by_the_case_of_each_letter(
    spellings: tuple[str, ...],
) -> None:
    """As the database compares them (tests/integration/gateway/accounts tests that it does)."""
    assert len({"".join(map(str.lower, stored_form(name))) for name in spellings}) == 1


@pytest.mark.parametrize("name", ["Γιώργος", "Weiß", "Олена", "Ana", "Zoë", "अनिता", "McKay"])
def test_a_name_keeps_the_case_in_which_it_was_given(name: str) -> None:
    assert stored_form(name) == unicodedata.normalize("NFKC", name)


def test_no_text_takes_long() -> None:
    # Sorting a run of marks takes the square of its length: for this, seconds.
    text = "a" + "\u0301\u0316" * 15_000
    began = time.thread_time()
    assert in_nfkc(text) == stored_form(text) == text
    assert username_problem(text) is not None
    assert time.thread_time() - began < 0.05
