"""Logs: one JSON object a line, a constant event name, identifiers in fields, nothing secret."""

import logging
import os
import sys
from contextvars import ContextVar

import structlog

from shared.settings import Settings, unknown_variables

# Of the request that is being answered.
request_id: ContextVar[str] = ContextVar("request_id")


def configure_logging(settings: Settings, process_name: str) -> None:
    """Send the logs of Eventify and of its libraries to standard error, as JSON lines."""
    shared_processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared_processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared_processors,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(settings.log_level)
    # What Celery says of each task, we say better: one line for each drain.
    chatty = ("kombu", "celery.app.trace", "celery.worker.strategy", "asyncio", "alembic")
    for name in (*chatty, "shared.database.TimedPool"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process_name)
    for name, meant in sorted(unknown_variables(os.environ).items()):
        get_logger(__name__).warning("setting_unknown", variable=name, meant=meant)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _add_request_id(
    _logger: object, _method: str, fields: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    id_ = request_id.get(None)
    if id_ is not None:
        fields.setdefault("request_id", id_)
    return fields
