"""The files of the pages in memory: their addresses and headers.

The address of an asset has the hash of all assets, so it may be cached forever. HTML names its
assets by a relative URL, so that it works under any path prefix.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from gateway.encoded_file import HASH_CHARACTERS, File, Headers
from gateway.response_headers import CONTENT_SECURITY_POLICY, NEVER_FRAMED, NOTHING_ALLOWED

FOLDER = Path(__file__).parent
HTML, STATIC = FOLDER / "html", FOLDER / "static"
FAVICON = "favicon.svg"
# What an HTML file calls the folder of the assets.
ASSETS = "{{assets}}"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# A quarter of all script, which no visitor has to load: comments that have lines of their own, and
# indentation (of which no text of several lines may need its own).
COMMENT = re.compile(rb"^ *(?://[^\n]*|/\*(?:(?!\*/).)*\*/)$", re.MULTILINE | re.DOTALL)
INDENTATION = re.compile(rb"^ +", re.MULTILINE)
HAS_COMMENTS = frozenset({".css", ".js"})
# An asset may change only with its address.
FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")
REVALIDATED = (b"cache-control", b"no-cache")
FOR_A_DAY = (b"cache-control", b"public, max-age=86400")
SAME_ORIGIN = (b"cross-origin-resource-policy", b"same-origin")
# Scripts and styles are files of ours; a text can become neither HTML nor a script.
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
PAGE_HEADERS: Headers = (
    REVALIDATED,
    (CONTENT_SECURITY_POLICY, PAGE_POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    SAME_ORIGIN,
    NEVER_FRAMED,
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    # Not `no-referrer`, with which some browsers send `Origin: null` to ourselves.
    (b"referrer-policy", b"same-origin"),
)
ASSET_HEADERS: Headers = (NOTHING_ALLOWED, SAME_ORIGIN)


def asset_hash(static: Path = STATIC) -> str:
    """Of all names and contents below `static`."""
    whole = hashlib.sha256()
    for path in _tree(static):
        for part in (path.relative_to(static).as_posix().encode(), path.read_bytes()):
            whole.update(b"%d:%b" % (len(part), part))
    return whole.hexdigest()[:HASH_CHARACTERS]


def assets(static: Path = STATIC) -> Mapping[str, File]:
    """Every asset by its path in the installation.

    Raises:
        KeyError: a file has a suffix without a media type.
    """
    folder = f"/assets/{asset_hash(static)}/"
    return {
        folder + path.relative_to(static).as_posix(): _file(
            path.suffix, _content(path), (FOREVER, *ASSET_HEADERS)
        )
        for path in _tree(static)
    }


def page(name: str, depth: int) -> File:
    """An HTML file, to be served at a path with `depth` segments."""
    html = (HTML / f"{name}.html").read_text()
    html = html.replace(ASSETS, f"{'../' * depth}assets/{asset_hash()}")
    return _file(".html", html.encode(), PAGE_HEADERS)


def favicon() -> File:
    """For `/favicon.ico`, which browsers ask for where a response names no icon."""
    content = (STATIC / FAVICON).read_bytes()
    return _file(".svg", content, (FOR_A_DAY, *ASSET_HEADERS))


def _tree(static: Path) -> list[Path]:
    return sorted(path for path in static.rglob("*") if path.is_file())


def _content(path: Path) -> bytes:
    """Without comments and indentation; all else has the same number of its line."""
    content = path.read_bytes()
    if path.suffix not in HAS_COMMENTS:
        return content
    content = COMMENT.sub(lambda comment: b"\n" * comment[0].count(b"\n"), content)
    return INDENTATION.sub(b"", content)


def _file(suffix: str, content: bytes, headers: Headers) -> File:
    return File.of(MEDIA_TYPES[suffix], content, headers)
