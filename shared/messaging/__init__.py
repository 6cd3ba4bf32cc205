"""Celery and Redis: wake-ups for workers, and what they publish."""

from shared.hidden_modules import hidden

# redis-py would load OpenTelemetry's SDK for metrics that it does not export here: 3 MB.
with hidden("opentelemetry.sdk"):
    import redis  # noqa: F401
