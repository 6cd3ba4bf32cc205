"""Lists in pages as the contract describes them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tests.deep.model.refusals import Refusal

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    count: int
    has_next: bool
    has_previous: bool
    results: Sequence[T]


def page_of(found: Sequence[T], number: int, size: int) -> Page[T]:
    """One page, counted from 1; the first is there even when it is empty. Raises Refusal."""
    before = (number - 1) * size
    if number > 1 and before >= len(found):
        raise Refusal("not_found")
    after = before + size
    return Page(len(found), after < len(found), number > 1, found[before:after])
