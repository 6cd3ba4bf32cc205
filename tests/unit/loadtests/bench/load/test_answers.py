"""The load generator's reading of answers, in whatever pieces they come."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.bench.load.answers import Answer, AnswerReader

bodies = st.binary(max_size=40) | st.just(b"\r\n\r\nContent-Length: 7\r\n\r\n")
answers = st.lists(st.builds(Answer, st.integers(200, 599), bodies), max_size=5)


def as_sent(answer: Answer) -> bytes:
    return (
        b"HTTP/1.1 %d Some Reason\r\ncontent-type: text/plain\r\nContent-Length: %d\r\n\r\n%b"
        % (answer.status, len(answer.body), answer.body)
    )


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


@given(answers, st.lists(st.integers(0, 10_000), max_size=8))
def test_the_same_answers_come_out_wherever_they_are_cut(
    sent: list[Answer], places: list[int]
) -> None:
    reader = AnswerReader()
    pieces = cut(b"".join(map(as_sent, sent)), places)
    assert [answer for piece in pieces for answer in reader.feed(piece)] == sent


def test_an_answer_is_given_with_its_last_byte_and_not_before() -> None:
    reader = AnswerReader()
    sent = as_sent(Answer(202, b"queued"))
    assert reader.feed(sent[:-1]) == []
    assert reader.feed(sent[-1:]) == [Answer(202, b"queued")]


def test_an_answer_without_a_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="without Content-Length"):
        AnswerReader().feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
