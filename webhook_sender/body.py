"""The bodies of deliveries: `type`, `timestamp`, `data`, as Standard Webhooks recommend."""

from collections.abc import Sequence

import msgspec

from webhook_sender.ledgers import Encoded


def body_of(event_id: int, epoch: str, since: str, after: int, entries: Sequence[Encoded]) -> str:
    """The same for the same entries, at each attempt.

    Args:
        event_id: whose ledger.
        epoch: of its numbers.
        since: when that began.
        after: the number after which these are all that is wanted.
        entries: none where only a new epoch is told.
    """
    return _written(
        "ledger.entries",
        entries[-1].at if entries else since,
        {
            "event": event_id,
            "epoch": epoch,
            "after": after,
            "entries": [entry.json for entry in entries],
        },
    )


def test_body(webhook_id: int, now: str) -> str:
    return _written("webhook.test", now, {"webhook": webhook_id})


def _written(type_: str, timestamp: str, data: object) -> str:
    return msgspec.json.encode({"type": type_, "timestamp": timestamp, "data": data}).decode()
