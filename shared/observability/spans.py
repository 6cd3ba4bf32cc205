"""Spans of OpenTelemetry, sent to a collector by OTLP over HTTP.

Imported only where traces are wanted (tracing.py): all else of Eventify knows spans by their
`traceparent`, which is the W3C's name of a span in one text.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Kind = Literal["SERVER", "INTERNAL", "PRODUCER", "CONSUMER"]
Attributes = Mapping[str, str | int | bool]
# What is not sent by then is lost: a collector that is away must not hold up a stop.
CLOSE_SECONDS = 2.0

_w3c = TraceContextTextMapPropagator()


class Spans:
    """Begins spans, and sends them in batches from a thread of its own; too many are dropped.

    Args:
        process_name: for `service.name`, unless OTEL_SERVICE_NAME says another one.
    """

    def __init__(self, process_name: str) -> None:
        named = "OTEL_SERVICE_NAME" in os.environ
        resource = Resource.create({} if named else {"service.name": f"eventify-{process_name}"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("eventify")

    @contextmanager
    def open(
        self,
        name: str,
        kind: Kind,
        *,
        parent: str | None,
        links: Iterable[str] = (),
        attributes: Attributes,
    ) -> Iterator[Span]:
        """A span for as long as the block lasts.

        Args:
            name: of few different ones, as OpenTelemetry wants it.
            kind: OpenTelemetry's kind of span.
            parent: a traceparent; None, or none that can be read: it begins a trace.
            links: traceparents of what it has to do with besides.
            attributes: nothing secret, and nothing about a person.
        """
        span = self._begin(name, kind, parent, links, attributes, None)
        try:
            yield span
        finally:
            span.end()

    def record(
        self,
        name: str,
        kind: Kind,
        *,
        parent: str | None,
        links: Iterable[str] = (),
        attributes: Attributes,
        began_ns: int,
        ended_ns: int,
    ) -> str | None:
        """A span of something that is over; arguments as `open` has them, times since 1970.

        Returns its traceparent, if it is sampled.
        """
        span = self._begin(name, kind, parent, links, attributes, began_ns)
        span.end(ended_ns)
        return self.traceparent_of(span)

    @staticmethod
    def traceparent_of(span: Span) -> str | None:
        """The span's name in one text; None where it is not sampled, so that nobody follows it."""
        if not span.get_span_context().trace_flags.sampled:
            return None
        carrier: dict[str, str] = {}
        _w3c.inject(carrier, set_span_in_context(span))
        return carrier["traceparent"]

    def close(self) -> None:
        """Send what has ended."""
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)

    def _begin(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        links: Iterable[str],
        attributes: Attributes,
        began_ns: int | None,
    ) -> Span:
        return self._tracer.start_span(
            name,
            _context_of(parent),
            SpanKind[kind],
            dict(attributes),
            [Link(get_current_span(_context_of(link)).get_span_context()) for link in links],
            began_ns,
        )


def _context_of(traceparent: str | None) -> Context:
    # An empty context of its own: what happens to be current in this thread is not the parent.
    return _w3c.extract({"traceparent": traceparent} if traceparent else {}, Context())
