"""Logs: one JSON object a line, with a constant event name, identifiers in fields, no secrets.

docs/logs.md lists the events.
"""

import json
import logging
import os
import re
import sys
from contextvars import ContextVar
from urllib.parse import unquote

from shared.config.foreign_variables import removed_variables
from shared.config.settings import Settings, unknown_variables
from shared.hidden_modules import hidden

# It would load rich and pygments, for lines on a terminal: 4 MB and a tenth of a second.
with hidden("rich"):
    import structlog
    from structlog.typing import EventDict

REDACTED = "[secret]"
PASSWORD_IN_URL = re.compile(r"://[^:/\s]*:([^/\s]+)@")
PASSWORD_IN_QUERY = re.compile(r"[?&]\w*password=([^&\s]+)")
# A shorter one may be a common word; within a URL it is removed all the same.
PASSWORD_MIN_CHARACTERS = 8
# A line may contain a client's text, and each of these takes linear time: it starts with a fixed
# text that cannot be part of what follows, so no part is read again from another start.
SECRET_FORMS = (
    r"\$argon2[a-z]*\$[\w$+/=,.-]*",  # the hash of a password
    # Without its end, up to the end of the JSON string.
    (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
        r"(?:[^\"\\]|\\.)*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?=\")|$)"
    ),
    r"(?<=://)[^:/\s\"]*:[^/\s\"]+(?=@)",  # user and password in a URL
    r"(?<=password=)[^&\s\"]+",  # in its query
    # An API key, and the secret of a webhook; the search for what is too short is short as well.
    r"evk_[\w-]{16,}",
    r"whsec_[\w+/=-]{16,}",
)
# Each form contains one of these.
SECRET_SIGNS = ("$argon2", "PRIVATE KEY", "://", "password=", "evk_", "whsec_")
# A JWT is `eyJ....eyJ....` and a signature. An expression for that could start anywhere in a long
# word and read it to its end each time. So whole words are searched.
TOKEN_SIGN = ".eyJ"
WORD = re.compile(r"[\w.-]{9,}")
# Longer texts of a line are cut: a path has up to 64 KiB, a traceback of ours about 5.
TEXT_MAX_CHARACTERS = 8_192

# Of the current request.
request_id: ContextVar[str] = ContextVar("request_id")


def configure_logging(settings: Settings, process_name: str) -> None:
    """Send the logs of Eventify and of its libraries to standard error, as JSON lines."""

    def name_process(_logger: object, _method: str, fields: EventDict) -> EventDict:
        fields["process"] = process_name
        return fields

    shared_processors: list[structlog.typing.Processor] = [
        name_process,
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
            foreign_pre_chain=[_name_foreign, *shared_processors],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                JsonWithoutSecrets(settings),
            ],
        )
    )
    logging.root.handlers = [handler]
    logging.captureWarnings(capture=True)
    logging.root.setLevel(settings.log_level)
    # Celery's lines for each task would repeat ours, one for each batch.
    chatty = ("kombu", "celery.app.trace", "celery.worker.strategy", "asyncio", "alembic")
    for name in (*chatty, "shared.database.engine.TimedPool"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logger = get_logger(__name__)
    for name, meant in sorted(unknown_variables(os.environ).items()):
        logger.warning("setting_unknown", variable=name, meant=meant)
    if removed := removed_variables():
        logger.warning("variables_ignored", variables=removed)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


class JsonWithoutSecrets:
    """Renders a line, and removes secrets from it.

    We log no secrets. But the text of an error may contain a row, a URL or a header, and so may the
    messages of libraries.
    """

    def __init__(self, settings: Settings) -> None:
        self._render = structlog.processors.JSONRenderer()
        longest_first = sorted(_passwords(settings), key=len, reverse=True)
        forms = [re.escape(json.dumps(one)[1:-1]) for one in longest_first]
        self._secret = re.compile("|".join((*SECRET_FORMS, *forms)))
        # Searched first, which is twenty times as fast, and nearly always enough.
        self._signs = (*SECRET_SIGNS, *(json.dumps(one)[1:-1] for one in longest_first))

    def __call__(self, logger: object, method: str, fields: EventDict) -> str:
        for name, value in fields.items():
            if isinstance(value, str) and len(value) > TEXT_MAX_CHARACTERS:
                fields[name] = _cut(value)
        line = str(self._render(logger, method, fields))
        if TOKEN_SIGN in line:
            line = WORD.sub(_without_tokens, line)
        if any(sign in line for sign in self._signs):
            line = self._secret.sub(REDACTED, line)
        return line


def _cut(text: str) -> str:
    """Beginning and end of a long text; a traceback's last line matters most.

    The end starts with a whole word: a secret that was cut is either recognised in the beginning or
    dropped.
    """
    half = TEXT_MAX_CHARACTERS // 2
    end = re.split(r"\s", text[-half:], maxsplit=1)[1:]
    return " ".join([text[:half], f"[... {len(text)} characters ...]", *end])


def _without_tokens(word: re.Match[str]) -> str:
    kept = []
    parts = iter(word[0].split("."))
    part = next(parts, None)
    while part is not None:
        following = next(parts, None)
        begin = part.find("eyJ")
        if begin >= 0 and following is not None and following.startswith("eyJ"):
            next(parts, None)  # the signature
            part, following = part[:begin] + REDACTED, next(parts, None)
        kept.append(part)
        part = following
    return ".".join(kept)


def _passwords(settings: Settings) -> set[str]:
    """Those of our own URLs, quoted and unquoted."""
    urls = (settings.database_url, settings.redis_url, settings.celery_broker_url)
    forms = (PASSWORD_IN_URL, PASSWORD_IN_QUERY)
    written = {password for url in urls for form in forms for password in form.findall(url)}
    both = written | {unquote(password) for password in written}
    return {password for password in both if len(password) >= PASSWORD_MIN_CHARACTERS}


def _name_foreign(_logger: object, _method: str, fields: EventDict) -> EventDict:
    """A library's message is not a constant event name; it becomes a field."""
    fields["message"] = fields["event"]
    fields["event"] = "library_message"
    return fields


def _add_request_id(_logger: object, _method: str, fields: EventDict) -> EventDict:
    id_ = request_id.get(None)
    if id_ is not None:
        fields.setdefault("request_id", id_)
    return fields
