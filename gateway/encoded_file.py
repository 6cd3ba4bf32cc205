"""Content in memory, plain and gzipped, with its headers: a rush reads it at next to no cost."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache

from gateway.media_types import media_ranges

Headers = tuple[tuple[bytes, bytes], ...]

HASH_CHARACTERS = 16
# Clients send a handful of them.
ENCODINGS_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file in one encoding. A strong ETag is of an encoding (RFC 9110, 8.8.3.3)."""

    headers: Headers
    headers_of_304: Headers
    body: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class File:
    """`gzipped` is the file itself where gzip would make it larger."""

    plain: Encoded
    gzipped: Encoded

    @classmethod
    def of(cls, media_type: str, content: bytes, headers: Headers) -> "File":
        of_content = ((b"content-type", media_type.encode()),)
        headers = (*headers, (b"vary", b"Accept-Encoding"))
        plain = _encoded(of_content, headers, content)
        compressed = gzip.compress(content, mtime=0)
        if len(compressed) >= len(content):
            return cls(plain, plain)
        gzipped = _encoded((*of_content, (b"content-encoding", b"gzip")), headers, compressed)
        return cls(plain, gzipped)

    def chosen(self, accept_encoding: bytes) -> Encoded:
        """What a client that sends this `Accept-Encoding` gets."""
        return self.gzipped if _accepts_gzip(accept_encoding) else self.plain


def _encoded(of_content: Headers, headers: Headers, body: bytes) -> Encoded:
    etag = f'"{hashlib.sha256(body).hexdigest()[:HASH_CHARACTERS]}"'
    headers = (*headers, (b"etag", etag.encode()))
    return Encoded((*of_content, *headers), headers, body, etag)


@lru_cache(ENCODINGS_REMEMBERED)
def _accepts_gzip(accept_encoding: bytes) -> bool:
    """By RFC 9110, 12.5.3; without the header, only the plain form is sent."""
    qualities = {each.media_type: each.quality for each in media_ranges(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0
