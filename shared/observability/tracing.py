"""Whether this process traces purchases; else nothing of OpenTelemetry's SDK is loaded.

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
    """Where this process puts its spans; None when nobody wants them. Call it after a fork.

    Raises:
        ConfigurationError: traces are wanted, and OpenTelemetry's SDK is not installed.
    """
    if not wanted(os.environ):
        return None
    try:
        from shared.observability.spans import Spans  # noqa: PLC0415 - a quarter of a second, where it is wanted
    except ImportError as error:
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, and OpenTelemetry's SDK is not installed:"
            " install Eventify's extra `tracing` (make tracing), or unset it."
        ) from error
    return Spans(process_name)


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether a collector is named, and tracing is not switched off."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    return any(environment.get(name) for name in ENDPOINTS)
