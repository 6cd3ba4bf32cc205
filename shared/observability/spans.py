"""Spans of OpenTelemetry, sent to a collector by OTLP over HTTP.

Imported only if tracing is on (tracing.py): other modules refer to a span by its `traceparent`
(W3C Trace Context).
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
# Spans that are not sent by then are lost: an unavailable collector must not delay a stop.
CLOSE_SECONDS = 2.0

_w3c = TraceContextTextMapPropagator()


class Spans:
    """Starts spans, and exports them in batches from a thread of its own; too many are dropped.

    Args:
        process_name: for `service.name`, unless OTEL_SERVICE_NAME is set.
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
        """A span of the block.

        Args:
            name: of low cardinality, as OpenTelemetry requires.
            kind: OpenTelemetry's kind of span.
            parent: a traceparent; None or malformed: the span starts a trace.
            links: traceparents of related spans.
            attributes: nothing secret, and no personal data.
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
        """A span that has ended; arguments as `open`, times since 1970.

        Returns its traceparent, if it is sampled.
        """
        span = self._begin(name, kind, parent, links, attributes, began_ns)
        span.end(ended_ns)
        return self.traceparent_of(span)

    @staticmethod
    def traceparent_of(span: Span) -> str | None:
        """The span's traceparent; None if it is not sampled."""
        if not span.get_span_context().trace_flags.sampled:
            return None
        carrier: dict[str, str] = {}
        _w3c.inject(carrier, set_span_in_context(span))
        return carrier["traceparent"]

    def close(self) -> None:
        """Export the spans that have ended."""
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
    # An empty context: the span that is current in this thread is not the parent.
    return _w3c.extract({"traceparent": traceparent} if traceparent else {}, Context())
