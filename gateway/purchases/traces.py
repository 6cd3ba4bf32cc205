"""The spans of a request in the gateway that buys, or that resolves a purchase.

One covers the request; its children are `accept`, the statement of its batch, and the sending of
the wake-up. The worker continues the trace from the `traceparent` in the row.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from shared.errors import Problem
from shared.messaging.celery_client import PURCHASES_QUEUE

if TYPE_CHECKING:
    from shared.observability.spans import Spans

STATUS = "http.response.status_code"


class Traced(Protocol):
    """What is accepted in batches."""

    @property
    def traceparent(self) -> str | None: ...

    @property
    def span_attributes(self) -> Mapping[str, str]: ...


class PurchaseTraces:
    """Named by OpenTelemetry's conventions."""

    def __init__(self, spans: "Spans") -> None:
        self._spans = spans

    async def request(
        self,
        route: str,
        traceparent: bytes | None,
        answer: Callable[[str | None], Awaitable[int]],
    ) -> None:
        """The span of a request, a child of the client's own if it sent one.

        Args:
            route: the template of its path.
            traceparent: the request's header.
            answer: responds, given the traceparent of the span; returns the status.

        Raises:
            Problem: what `answer` raises.
        """
        parent = traceparent.decode("latin-1") if traceparent is not None else None
        attributes = {"http.request.method": "POST", "http.route": route}
        with self._spans.open(
            f"POST {route}", "SERVER", parent=parent, attributes=attributes
        ) as span:
            try:
                span.set_attribute(STATUS, await answer(self._spans.traceparent_of(span)))
            except Problem as problem:
                span.set_attribute(STATUS, problem.status)
                if problem.status >= 500:
                    span.set_attribute("error.type", problem.code)
                raise

    def accepted(
        self, requests: Sequence[Traced], verdicts: Iterable[object], began_ns: int
    ) -> None:
        """The accept statement, in the trace of each request of its batch."""
        ended_ns = time.time_ns()
        for request, verdict in zip(requests, verdicts, strict=True):
            if request.traceparent is not None:
                self._spans.record(
                    "accept",
                    "INTERNAL",
                    parent=request.traceparent,
                    attributes={
                        **request.span_attributes,
                        "eventify.verdict": _name_of(verdict),
                        "eventify.batch_rows": len(requests),
                    },
                    began_ns=began_ns,
                    ended_ns=ended_ns,
                )

    @contextmanager
    def wakeup(self, traceparents: Sequence[str]) -> Iterator[Mapping[str, str] | None]:
        """The span of sending a wake-up for these requests; yields the message's headers."""
        if not traceparents:
            yield None
            return
        first, *others = traceparents
        attributes = {
            "messaging.system": "celery",
            "messaging.operation.type": "send",
            "messaging.destination.name": PURCHASES_QUEUE,
        }
        with self._spans.open(
            f"send {PURCHASES_QUEUE}", "PRODUCER", parent=first, links=others, attributes=attributes
        ) as span:
            traceparent = self._spans.traceparent_of(span)
            yield {"traceparent": traceparent} if traceparent is not None else None

    def close(self) -> None:
        self._spans.close()


def _name_of(verdict: object) -> str:
    """`NothingToDo` is `nothing_to_do`."""
    if isinstance(verdict, Problem):
        return verdict.code
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(verdict).__name__).lower()
