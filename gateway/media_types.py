"""Which of several media types a client prefers (RFC 9110, 12.5.1)."""

import re
from collections.abc import Sequence
from typing import NamedTuple

# Browsers send 150; reading 64 kB of them would take 9 ms.
ACCEPT_MAX_BYTES = 1_000
QUALITY = re.compile(r"(0(?:\.\d*)?|1(?:\.0*)?)")  # RFC 9110, 12.4.2, with any number of digits


class MediaRange(NamedTuple):
    """One element of `Accept`: `type/subtype`, `type/*` or `*/*`, in lower case."""

    media_type: str
    quality: float


class Preference(NamedTuple):
    """Compares as the client prefers; `precedence` is higher for an earlier range."""

    quality: float
    precedence: int


def media_ranges(accept: bytes) -> list[MediaRange]:
    """Those of a header of bearable length; of a longer one none."""
    if len(accept) > ACCEPT_MAX_BYTES:
        return []
    return [_media_range(element) for element in accept.decode("latin-1").lower().split(",")]


def preferred(accept: bytes, offered: Sequence[str]) -> str:
    """The media type that this `Accept` prefers; of equals, and of none, the first one."""
    ranges = media_ranges(accept)
    best = max(offered, key=lambda media_type: preference(ranges, media_type))
    return best if preference(ranges, best).quality > 0 else offered[0]


def preference(ranges: Sequence[MediaRange], media_type: str) -> Preference:
    """By the most specific range that matches."""
    kind = media_type.partition("/")[0]
    for fitting in (media_type, f"{kind}/*", "*/*"):
        for place, media_range in enumerate(ranges):
            if media_range.media_type == fitting:
                return Preference(media_range.quality, -place)
    return Preference(0.0, -len(ranges))


def _media_range(element: str) -> MediaRange:
    """A range with a malformed quality counts as quality 0."""
    media_type, *parameters = (part.strip() for part in element.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            match = QUALITY.fullmatch(value.strip())
            return MediaRange(media_type, float(match[1]) if match else 0.0)
    return MediaRange(media_type, 1.0)
