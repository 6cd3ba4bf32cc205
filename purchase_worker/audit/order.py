"""The proof of the order: nothing was decided before an earlier command that could be seen. Pure.

docs/decisions/0002-proof-of-the-order.md says what it proves and what it cannot.
"""

from collections.abc import Iterator

import msgspec


class Snapshot(msgspec.Struct, frozen=True):
    """Which transactions a statement saw: PostgreSQL's `xmin:xmax:in-progress,...`."""

    xmin: int
    xmax: int
    in_progress: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        xmin, xmax, in_progress = text.split(":")
        return cls(
            int(xmin), int(xmax), frozenset(int(xid) for xid in in_progress.split(",") if xid)
        )

    def sees(self, xid: int) -> bool:
        """Whether a transaction that has committed by now was visible."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.in_progress)

    def sees_all_of(self, earlier: "Snapshot") -> bool:
        """Whether it saw every transaction that an earlier one saw.

        Both must be of one cluster: in a younger one, transaction ids begin low again.
        """
        return earlier.xmax <= self.xmax and not any(map(earlier.sees, self.in_progress))


class BatchRow(msgspec.Struct, frozen=True):
    """A batch as stored. `at`: seconds since 1970. `ticket_type_id`: of one from before the ledger,
    which decided commands of this ticket type only. `by_drain`: it read the work list.
    """

    first_number: int
    last_number: int
    at: float
    seen: Snapshot
    ticket_type_id: int | None = None
    by_drain: bool = True


class Order:
    """Commands that are served first come, first served: those of one class.

    Each is decided in a batch; within it the sequence numbers rise. A command with a smaller number
    than one of an earlier batch is right only if that batch could not see it.
    """

    def __init__(self) -> None:
        # Batches with their highest sequence numbers. One with a lower number than a later batch
        # has cannot be the latest to pass a command over, so it is forgotten: few are kept.
        self._batches: list[tuple[int, BatchRow]] = []
        self._max_seq = 0

    def decided(self, seq: int, accepted_xid: int) -> Iterator[str]:
        """What is wrong with the place of the next command."""
        if seq <= self._max_seq:
            yield "did not come after the one decided before it in the same batch"
        else:
            self._max_seq = seq
            yield from self.passed_over(seq, accepted_xid)

    def passed_over(self, seq: int, accepted_xid: int) -> Iterator[str]:
        """What is wrong with the place of a command that no batch so far has decided.

        What one batch saw every later one saw too (`Replay` checks it), so the latest batch that
        passed it over is enough for all.
        """
        for max_seq, batch in reversed(self._batches):
            if max_seq > seq:
                if batch.seen.sees(accepted_xid):
                    yield f"was passed over by the batch that began with {batch.first_number}"
                return

    def close(self, batch: BatchRow) -> None:
        """The batch of the commands since the last call has no more."""
        while self._batches and self._batches[-1][0] <= self._max_seq:
            self._batches.pop()
        self._batches.append((self._max_seq, batch))
        self._max_seq = 0
