"""`Prefer: wait` as RFC 7240 has it."""

import time

import pytest

from gateway.purchases.preferences import preferred_wait

MAX_SECONDS = 30


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (b"", None),
        (b"wait=20", 20),
        (b"WAIT=20", 20),
        (b"wait=0", 0),
        (b"wait=007", 7),
        (b'wait="20"', 20),
        (b"wait = 20", 20),
        (b"\twait\t=\t20 ", 20),
        (b"wait=31", 30),
        (b"wait=9999999999", 30),
        (b"wait=" + b"9" * 60_000, 30),
        (b"wait=" + b"0" * 60_000 + b"7", 7),
        # other preferences around it
        (b"respond-async, wait=10", 10),
        (b"respond-async,wait=10", 10),
        (b"wait=10, respond-async", 10),
        (b",, ,wait=10,", 10),
        (b'note="a, wait=5", wait=10', 10),
        (b'note="a\\", wait=5", wait=10', 10),
        # parameters, ours and others'
        (b"wait=10; foo=bar", 10),
        (b"wait=10;foo", 10),
        (b"wait=10;", 10),
        (b"foo; wait=10", None),
        (b"foo;bar=1;wait=10", None),
        (b"foo; wait=5, wait=10", 10),
        # the first one counts
        (b"wait=10, wait=20", 10),
        (b"wait=soon, wait=20", None),
        # a preference that is not valid is no error
        (b"wait", None),
        (b"wait=", None),
        (b'wait=""', None),
        (b"wait=soon", None),
        (b"wait=-1", None),
        (b"wait=+1", None),
        (b"wait=1.5", None),
        (b"wait=1_0", None),
        (b"wait=1e1", None),
        (b"wait=10 20", None),
        (b"wait 10", None),
        (b"wait=\xd9\xa3", None),
        (b"awaits=9", None),
        (b"x-wait=9", None),
        (b'note="wait=5', None),
    ],
)
def test_the_wait_that_a_client_prefers(prefer: bytes, seconds: int | None) -> None:
    assert preferred_wait(prefer, MAX_SECONDS) == seconds


@pytest.mark.parametrize(
    "piece",
    [b",", b'"', b"\\", b'"\\', b" ", b"wait=,", b"wait ", b'a="', b";", b"a;", b"=", b"a="],
)
def test_a_hostile_header_is_read_in_no_time(piece: bytes) -> None:
    hostile = piece * (60_000 // len(piece))
    for prefer in (hostile, hostile + b"x", b"wait" + hostile, b'"' + hostile):
        began = time.process_time()
        preferred_wait(prefer, MAX_SECONDS)
        assert time.process_time() - began < 0.2
