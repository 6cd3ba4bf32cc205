"""Bad tokens open no route and change nothing."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest

from deploy.local.home import Home
from shared.auth.keys import load_signing_key
from tests.support.bad_tokens import BAD, GOOD, Forger
from tests.support.wire import Answer, Wire
from tests.system.conftest import Shop
from tests.system.hostile.target import OWN_ACCOUNT, PASSWORD, Target

# Operations without a token; the document says of all others that they need one.
PUBLIC = {
    ("POST", "/api/users/"),
    ("POST", "/api/token/"),
    ("POST", "/api/token/refresh/"),
    ("POST", "/api/token/verify/"),
    ("POST", "/api/token/blacklist/"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/api/sales/"),
    ("GET", "/api/sales/{id}/"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/api/schema/"),
    ("GET", "/api/docs/"),
}
# Where other systems accept tokens.
ELSEWHERE = [
    "X-Authorization",
    "Proxy-Authorization",
    "X-Access-Token",
    "Token",
    "X-Forwarded-User",
]
OF_BAD_TOKENS = {"token_expired", "token_malformed", "token_not_valid"}
Lines = list[str | bytes]


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    secured: bool


@pytest.fixture(scope="module")
def operations(shop: Shop) -> list[Operation]:
    """What the document says can be done; last what deletes, and an event after its parts."""
    document = httpx.get(f"{shop.url}/api/schema/").json()
    found = [
        Operation(method.upper(), path, bool(operation.get("security")))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    found.sort(key=lambda o: (o.method == "DELETE", "events" in o.path))
    return found


@pytest.fixture
def forger(shop: Shop, target: Target) -> Forger:
    """Forges tokens of the organiser, who owns the rows."""
    user_id = target.organiser.get("/api/users/me/").json()["id"]
    key = load_signing_key(Home(shop.operator.home).keys)
    return Forger(key, GOOD | {"sub": str(user_id)})


def headers_without_a_token(good: str) -> Iterator[tuple[str, Lines]]:
    """Header lines that hold a good token, yet not as `Authorization: Bearer` has to."""
    yield "no header", []
    for value in (
        *(
            "",
            "Bearer",
            "Bearer ",
            "bearer",
            good,
            f"Bearer {good} {good}",
            f"Bearer {good},{good}",
        ),
        *(f"Bearer={good}", f"Bearer\t{good}", f"Bearer:{good}", f'Bearer "{good}"'),
        *(
            f"Token {good}",
            f"JWT {good}",
            f"Digest {good}",
            f"Basic {good}",
            f"Bearer Bearer {good}",
        ),
        "Basic " + base64.b64encode(b"organiser:password").decode(),
    ):
        yield f"Authorization: {value.replace(good, '<good>')}", [f"Authorization: {value}"]
    yield "bytes", [b"Authorization: Bearer \xff\xfe\x80" + good.encode()]
    yield "UTF-8 scheme", ["Authorization: Ｂearer ".encode() + good.encode()]
    for first, second in ((good, good), (good, "x"), ("x", good), (good, "")):
        names = " and ".join("good" if token == good else "bad" for token in (first, second))
        yield f"twice: {names}", [f"Authorization: Bearer {token}" for token in (first, second)]
    for name in ELSEWHERE:
        yield name, [f"{name}: Bearer {good}"]
    yield "Cookie", [f"Cookie: access={good}; Authorization=Bearer {good}"]


def attacks(forger: Forger) -> dict[str, Lines]:
    by_token: dict[str, Lines] = {
        f"token: {name}": [b"Authorization: Bearer " + forge(forger).encode()]
        for name, forge in BAD.items()
    }
    return by_token | dict(headers_without_a_token(forger.signed()))


def is_refused(answer: Answer, lines: Lines) -> bool:
    if any(byte < 0x20 for line in lines for byte in _octets(line) if byte != 0x09):
        return answer.status == 400  # such a line is no HTTP: it is refused before anyone reads it
    return (
        answer.status == 401
        and answer.is_problem
        and is_challenge(answer.headers["www-authenticate"], answer.json())
        and "x-request-id" in answer.headers
    )


def is_challenge(challenge: str, problem: dict[str, str]) -> bool:
    """As RFC 6750, 3 and 3.1 have it: of an error only where a token was sent."""
    realm = 'Bearer realm="eventify"'
    if problem["code"] == "not_authenticated":
        return challenge == realm
    described = f'{realm}, error="invalid_token", error_description="{problem["detail"]}"'
    return problem["code"] in OF_BAD_TOKENS and challenge == described


def _octets(line: str | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.encode("latin-1")


def test_what_needs_a_token_says_so(operations: list[Operation]) -> None:
    unsecured = {(o.method, o.path) for o in operations if not o.secured}
    assert unsecured == PUBLIC


def test_what_can_be_done_is_in_the_document(operations: list[Operation], target: Target) -> None:
    for path in {o.path for o in operations}:
        refused = target.organiser.request("PROPFIND", target.address(path))
        assert refused.status_code == 405, path
        allowed = set(refused.headers["Allow"].split(", ")) - {"HEAD"}
        assert allowed == {o.method for o in operations if o.path == path}, path


def test_no_bad_token_opens_any_route(
    operations: list[Operation],
    target: Target,
    forger: Forger,
    wire: Wire,
    stored: Callable[[], dict[str, str]],
) -> None:
    before, bad = stored(), attacks(forger)
    tried, opened = 0, []
    for operation in operations:
        if not operation.secured:
            continue
        body = json.dumps(target.body_for(operation.path)).encode()
        for name, lines in bad.items():
            answer = wire.request(
                operation.method, target.address(operation.path), [*lines, "If-Match: *"], body
            )
            tried += 1
            if not is_refused(answer, lines):
                opened.append((operation, name, answer))
    assert opened == []
    assert stored() == before
    assert tried > 2_000  # 140 attacks on each of 29 operations


def test_with_the_good_token_each_of_these_requests_is_done(
    operations: list[Operation], target: Target, forger: Forger, wire: Wire
) -> None:
    """The control: the token alone kept the others out. A new route needs its fields here."""
    for operation in operations:
        # A purchase is its buyer's alone.
        if operation.secured and operation.path != "/api/ticket-purchases/{id}/":
            token = forger.signed()
            if operation.method != "GET" and operation.path in OWN_ACCOUNT:
                token = token_of_new_account(wire)
            lines: Lines = [
                *(f"Authorization: Bearer {token}", "If-Match: *"),
                f"Idempotency-Key: {uuid4()}",
            ]
            body = json.dumps(target.body_for(operation.path)).encode()
            # Of a stream without an end.
            method = "HEAD" if operation.path.endswith("/live/events/") else operation.method
            answer = wire.request(method, target.address(operation.path), lines, body)
            assert answer.status in (200, 201, 202, 204), (operation, answer)


def token_of_new_account(wire: Wire) -> str:
    """With a password, and without events."""
    body = json.dumps({"username": f"ana{uuid4().hex}", "password": PASSWORD}).encode()
    assert wire.request("POST", "/api/users/", [], body).status == 201
    token: str = wire.request("POST", "/api/token/", [], body).json()["access"]
    return token


def test_a_token_in_the_address_is_none(target: Target, forger: Forger, wire: Wire) -> None:
    for name in ("access_token", "token", "access", "authorization", "jwt"):
        for path in ("/api/users/me/", "/api/events/", "/api/ticket-purchases/"):
            answer = wire.request("GET", f"{path}?{name}={forger.signed()}")
            assert is_refused(answer, []), (name, path)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 20_000, b"\xff\xfe", b"[]", b"{}", b" " * 100_000],
    ids=["empty", "open", "deep", "no text", "a list", "no fields", "too large"],
)
def test_a_strangers_body_is_not_read(
    operations: list[Operation], target: Target, wire: Wire, body: bytes
) -> None:
    for operation in operations:
        if operation.secured:
            for lines in ([], ["Authorization: Bearer x"]):
                address = target.address(operation.path)
                answer = wire.request(operation.method, address, lines, body)
                assert is_refused(answer, []), (operation, answer)


def test_a_stranger_is_answered_before_the_body_is_there(
    operations: list[Operation], target: Target, shop: Shop
) -> None:
    for operation in operations:
        if operation.secured:
            wire = Wire(shop.url)
            head = f"{operation.method} {target.address(operation.path)} HTTP/1.1\r\nHost: x\r\n"
            answer = wire.say(f"{head}Content-Length: 1000\r\n\r\n".encode(), operation.method)
            wire.close()
            assert is_refused(answer, []), (operation, answer)
