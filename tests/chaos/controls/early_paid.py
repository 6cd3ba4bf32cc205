"""A confirmation is answered 200 when it is stored, before the lane has decided it."""

from typing import Any

from gateway.resolutions.service import Resolutions, Resolved


async def not_decided_yet(_self: Resolutions, _id: str, *_rest: Any) -> Resolved:
    return Resolved()


def break_it() -> None:
    Resolutions._decided = not_decided_yet  # type: ignore[method-assign]
