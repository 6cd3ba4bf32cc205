"""What each holder bought and gave back, kept on disk until all of an event is read.

Limits need what each holder had before, and the holders of a large sale do not fit into memory. The
database could read them in their order, but looks up each purchase at another place: 20 us each, or
one long snapshot.
"""

import zlib
from collections.abc import Iterator
from itertools import chain
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

import msgspec

from purchase_worker.audit.limits import Bought

# Each has its own holders; one at a time is read again.
PARTS = 256
ROWS_AT_A_TIME = 200


class BoughtByHolder:
    """Takes purchases in any order of holders, and gives them back by parts of the holders."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._rows: list[list[Bought]] = [[] for _ in range(PARTS)]
        # Where those that were written are: offset and size.
        self._blocks: list[list[tuple[int, int]]] = [[] for _ in range(PARTS)]
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(list[Bought])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, bought: Bought) -> None:
        part = hash((bought.user_id, bought.buyer)) % PARTS
        rows = self._rows[part]
        rows.append(bought)
        if len(rows) == ROWS_AT_A_TIME:
            block = zlib.compress(self._encoder.encode(rows), 1)
            self._blocks[part].append((self._file.tell(), len(block)))
            self._file.write(block)
            rows.clear()

    def parts(self) -> Iterator[Iterator[Bought]]:
        """Each has all of its holders, in the order in which they were added."""
        for blocks, rest in zip(self._blocks, self._rows, strict=True):
            yield chain(chain.from_iterable(map(self._read, blocks)), rest)

    def _read(self, block: tuple[int, int]) -> list[Bought]:
        offset, size = block
        self._file.seek(offset)
        return self._decoder.decode(zlib.decompress(self._file.read(size)))
