"""What a broker's queue may hold by mistake or malice: none of it is a wake-up."""

import base64
import json
from typing import Any

from purchase_worker.consumer.self_check import SELF_MESSAGE
from shared.messaging.celery_client import DECIDE_QUEUES_TASK, PURCHASES_QUEUE


def _wakeup(body: str, delivery_tag: str = "1", **headers: Any) -> bytes:
    """A message as Celery sends it."""
    properties = {
        "correlation_id": "1",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": PURCHASES_QUEUE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": delivery_tag,
    }
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": DECIDE_QUEUES_TASK, "id": "1"} | headers,
            "properties": properties,
        }
    ).encode()


EMBED = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'
POISON_MESSAGES = (
    _wakeup(f"[[[-1]], {{}}, {EMBED}]"),
    _wakeup(f'[[["seven"]], {{}}, {EMBED}]'),
    _wakeup(f"[[], {{}}, {EMBED}]"),
    _wakeup(f"[[[7]], {{}}, {EMBED}]", task="nobody.knows"),
    _wakeup("{no json"),
    _wakeup(f"[[[7]], {{}}, {EMBED}]", id=None),
    _wakeup(f"[[[7]], {{}}, {EMBED}]", task=["not", "hashable"]),
    _wakeup(f"[[[7]], {{}}, {EMBED}]", argsrepr=7, eta="tomorrow", expires={}),
    _wakeup(f"[[[7]], {{}}, {EMBED}]").replace(b'"id": "1"', b'"no id": 1'),
    _wakeup("[]").replace(b'"delivery_tag": "1"', b'"delivery_tag": {}'),
    _wakeup("[]").replace(b'"body_encoding": "base64"', b'"body_encoding": "rot13"'),
    *(_wakeup("", tag, task=SELF_MESSAGE) for tag in "234"),
    b"[" * 100_000,
    b"[]",
    b"{}",
    b"null",
    b"no json either \xff",
)
