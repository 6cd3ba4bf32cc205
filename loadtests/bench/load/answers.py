"""Reads a server's answers with as little as a load generator can do with: status and body."""

import re
from typing import NamedTuple

HEAD_END = b"\r\n\r\n"
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
STATUS = slice(9, 12)  # after `HTTP/1.1 `


class Answer(NamedTuple):
    status: int
    body: bytes


class AnswerReader:
    """Puts answers together from the pieces in which they come on one connection."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Answer]:
        """The answers that are complete with this piece.

        Raises:
            ValueError: an answer does not tell its length; none of the servers here sends such.
        """
        if self._rest:
            data = self._rest + data
        answers = []
        while (head_end := data.find(HEAD_END)) >= 0:
            length = CONTENT_LENGTH.search(data, 0, head_end + len(HEAD_END))
            if length is None:
                raise ValueError(f"an answer without Content-Length: {data[:head_end]!r}")
            body_start = head_end + len(HEAD_END)
            end = body_start + int(length[1])
            if len(data) < end:
                break
            answers.append(Answer(int(data[STATUS]), data[body_start:end]))
            data = data[end:]
        self._rest = data
        return answers
