"""The bodies of deliveries: `type`, `timestamp`, `data`, as Standard Webhooks recommend."""

from collections.abc import Sequence

import msgspec

from webhook_sender.ledgers import Encoded


def body_of(event_id: int, epoch: str, entries: Sequence[Encoded]) -> str:
    """The same for the same entries, at each attempt. `epoch`: of the ledger's numbers."""
    return _written(
        "ledger.entries",
        entries[-1].at,
        {"event": event_id, "epoch": epoch, "entries": [entry.json for entry in entries]},
    )


def test_body(webhook_id: int, now: str) -> str:
    return _written("webhook.test", now, {"webhook": webhook_id})


def _written(type_: str, timestamp: str, data: object) -> str:
    return msgspec.json.encode({"type": type_, "timestamp": timestamp, "data": data}).decode()
