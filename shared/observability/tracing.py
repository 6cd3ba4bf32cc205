"""Turns tracing on; without it nothing of OpenTelemetry's SDK is imported.

The variables are OpenTelemetry's own. `OTEL_EXPORTER_OTLP_ENDPOINT` (or `..._TRACES_ENDPOINT`)
turns tracing on; sampler, limits, queue, headers and the rest are as its SDK reads them.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.observability.spans import Spans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def open_tracing(process_name: str) -> "Spans | None":
    """This process's spans; None if tracing is off. Call it after a fork.

    Raises:
        ConfigurationError: tracing is on, and OpenTelemetry's SDK is not installed.
    """
    if not is_wanted(os.environ):
        return None
    try:
        from shared.observability.spans import Spans  # noqa: PLC0415 - takes a quarter of a second
    except ImportError as error:
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, and OpenTelemetry's SDK is not installed:"
            " install Eventify's extra `tracing` (make tracing), or unset it."
        ) from error
    return Spans(process_name)


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether a collector is named, and tracing is not disabled."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    return any(environment.get(name) for name in ENDPOINTS)
