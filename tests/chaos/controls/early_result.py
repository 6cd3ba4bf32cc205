"""Results are published before they are committed."""

from collections.abc import Sequence
from typing import Any

from purchase_worker import store
from purchase_worker.drain import Batch
from purchase_worker.runtime import Runtime

_runtimes: list[Runtime] = []
_open_runtime = Runtime.__init__
_write_and_commit = store.write_and_commit


def open_runtime(self: Runtime, *args: Any) -> None:
    _open_runtime(self, *args)
    _runtimes.append(self)


def publish_and_commit(cursor: Any, parts: Sequence[store.Part], **rest: Any) -> list[int]:
    _runtimes[-1].publish(Batch(list(parts), []))
    return _write_and_commit(cursor, parts, **rest)


def break_it() -> None:
    Runtime.__init__ = open_runtime  # type: ignore[method-assign]
    store.write_and_commit = publish_and_commit
