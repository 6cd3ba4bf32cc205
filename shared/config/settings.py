"""Every setting and every limit of Eventify, read from the environment (`EVENTIFY_...`).

What is secret may stand in files instead, as container engines hand it over: `EVENTIFY_SECRETS_DIR`
names their folder, and each is named like its setting, `eventify_database_url`. A variable stands
above a file.
"""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.config.broker_url import check_broker_url
from shared.config.database_url import sqlalchemy_url
from shared.config.public_url import parse_proxies, parse_public_url
from shared.config.redis_url import check_redis_url
from shared.errors import ConfigurationError

PREFIX = "EVENTIFY_"
SECRETS_DIR = "EVENTIFY_SECRETS_DIR"
# What else goes by our prefix and is none of the settings below.
OTHER_VARIABLES = {
    "EVENTIFY_HOME": "the folder of what `eventify up` runs: data, keys and logs; `.eventify`",
    SECRETS_DIR: "a folder of files that are named like settings and hold their values",
    "EVENTIFY_SUPERVISED_IN": "set by `eventify up`, so that it knows its own processes again",
    "EVENTIFY_FAILPOINTS": "a folder by which fault tests end a process; never set it otherwise",
}
# For these 0 has a meaning, and for what is 0 by default. Every other number is above it.
MAY_BE_ZERO = {
    *("purchase_rate_burst", "purchase_rate_per_second"),
    *("sign_in_rate_burst", "sign_in_rate_per_second"),
    *("catalog_write_rate_burst", "catalog_write_rate_per_second"),
    *("list_rate_burst", "list_rate_per_second"),
    *("schema_cache_seconds", "waiting_max_rows"),
}
LARGEST_PORT = 65_535
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Settings(BaseSettings):
    """Units stand last in each name; the reason for a number stands beside it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, allow_inf_nan=False)

    # --- what the services are connected to ---
    # With commas between several hosts, the one that can be written to is meant.
    database_url: str
    # Only for `eventify migrate` and `up`, which make the gateway's own login from this URL. The
    # gateway reads it as its EVENTIFY_DATABASE_URL; for those two, that is the owner's.
    gateway_database_url: str = ""
    # The same for the catalog.
    catalog_database_url: str = ""
    # The same for worker and sweeper.
    worker_database_url: str = ""
    # Recent results and the marks of wake-ups under way; it may be wiped at any moment.
    redis_url: str = "redis://127.0.0.1:6379/0"
    # Celery's broker, RabbitMQ or a Redis; the same Redis unless told otherwise (docs/engines.md).
    broker_url: str = ""
    # Where the gateway finds the catalog.
    catalog_url: str = "http://127.0.0.1:8001"
    # Signing keys `<kid>.pem` (gateway) and public keys `<kid>.pub.pem` (every service).
    keys_dir: Path = Path(".eventify/keys")

    # --- where clients reach it ---
    # https://shop.example/tickets: links begin with it, and a proxy takes its path away. "" to take
    # it from each request: Host, or what a trusted proxy says.
    public_url: str = ""

    # --- where the services listen ---
    # The address of one interface; 0.0.0.0 for all of them, as in a container.
    gateway_host: str = "127.0.0.1"
    # The only port that the world needs to reach.
    gateway_port: int = 8000
    # For the gateways alone: the catalog stands behind them.
    catalog_host: str = "127.0.0.1"
    # The port that `catalog_url` names.
    catalog_port: int = 8001
    # Connections that the kernel keeps for us while all are busy; it cuts this to its own limit.
    listen_backlog: int = 4_096
    # What is under way at a stop may take this long: the longest wait of a client is cut short.
    shutdown_seconds: int = 10

    # --- tokens ---
    # Who signs, as tokens say and every service checks; changed, all tokens end.
    token_issuer: str = "eventify"
    # Whom tokens are for; another for each installation that shares keys.
    token_audience: str = "eventify"
    # Long enough to sit through an on-sale without a refresh in the middle of it.
    access_token_seconds: int = 3600
    # An app that is opened once a day stays signed in; a key must verify as long as this.
    refresh_token_seconds: int = 86_400
    # A client whose answer was lost may ask again for the same successor this long.
    refresh_retry_seconds: int = 10
    # Refresh tokens that expired are deleted this often.
    refresh_cleanup_seconds: float = 300.0
    # So many logins' tokens are deleted at a time: some 20 ms.
    refresh_cleanup_families: int = 1_000
    # A token of ours is about 600 bytes; what is longer is refused before it is parsed.
    token_max_bytes: int = 4096
    # Tokens whose signature was checked; 20,000 buyers cost about 25 MB.
    token_cache_rows: int = 20_000
    # Argon2id takes a core for tens of milliseconds: one at a time leaves the rest to purchases.
    password_hash_threads: int = 1
    # Sign-ins that may wait for a core: about two seconds of hashing; beyond it the answer is 503.
    password_hash_waiting_max: int = 100
    # Threads for the queries of sign-ins and registrations, a few milliseconds each; as many for
    # those of refreshes and of whatever else is done with a token.
    account_threads: int = 2
    # Account requests that may wait for such a thread: about a second of work.
    account_waiting_max: int = 1_000

    # --- the gateway's way to the catalog ---
    # A host that is there answers within milliseconds; then the answer is 503.
    catalog_connect_timeout_seconds: float = 2.0
    # For a change; what only reads has answer_timeout_seconds. The catalog's statements end at
    # statement_timeout_ms, and nobody should have to look what became of a change that waits for a
    # lock; waiting longer than this helps nobody.
    catalog_timeout_seconds: float = 10.0
    # Requests of one user that are at the catalog at a time, for each gateway; the next ones wait
    # for answer_timeout_seconds. A browser opens six connections; ten users can fill the way.
    catalog_user_requests_max: int = 10
    # Organisers' traffic is light; more would only queue at the catalog's own connection pool.
    catalog_connections_max: int = 100
    # How old the catalog's part of the OpenAPI document may be; 0 asks each time.
    schema_cache_seconds: float = 60.0
    # Bytes of large answers (lists) that a gateway holds for clients which have not read them yet.
    # A page has 256 KiB at most; beyond this whoever has been reading longest is cut off.
    unread_answers_max_bytes: int = 16_777_216
    # Load balancers give up on a probe after a few seconds.
    ready_timeout_seconds: float = 2.0

    # --- the catalog ---
    # Each thread has a connection of its own, so that no kind of request can take another's.
    # Rows by id: a millisecond each.
    catalog_read_threads: int = 2
    # Pages of lists: some milliseconds each.
    catalog_list_threads: int = 2
    # A search looks into every event: it may keep one core of PostgreSQL busy, and no more.
    catalog_search_threads: int = 1
    # Changes; those that find a row locked wait without a thread.
    catalog_write_threads: int = 3
    # A statement of a list or a search; 100,000 events are counted in 20 ms.
    catalog_list_timeout_ms: int = 1_000

    # --- how often one may ask; a burst or rate of 0 lifts the limit ---
    # Tries of one user at once: a person who clicks in haste stays below.
    purchase_rate_burst: int = 20
    # And steadily: a client that retries after Retry-After stays far below.
    purchase_rate_per_second: float = 5.0
    # Changes of events and ticket types by one user at once: a form that sets up a whole event.
    catalog_write_rate_burst: int = 60
    # And steadily: an organiser's import of thousands of rows goes on at this pace.
    catalog_write_rate_per_second: float = 10.0
    # Pages of lists and searches by one user at once: a page of a shop that shows several lists.
    list_rate_burst: int = 60
    # And steadily: a script that follows `next` reads 1,000 rows a second.
    list_rate_per_second: float = 10.0
    # For each address, sign-in and registration together: many may share one, so a crowd gets in.
    # Of refreshes, checks and sign-outs it may send five times as many (docs/operations.md).
    sign_in_rate_burst: int = 60
    # The pace at which one address may go on guessing passwords; refreshes: twenty times that.
    sign_in_rate_per_second: float = 1.0
    # Whose X-Forwarded-For, -Proto, -Host and -Prefix are believed: addresses or networks, with
    # commas between; "" for nobody, "*" for every peer.
    trusted_proxies: str = "127.0.0.1,::1"

    # --- the door ---
    # PostgreSQL has so long to answer; then the answer is 503: within two seconds, with the way to
    # the client. What was sent by then may still be done: a commit waits without end for a standby
    # that is away. In a queue that moves on, others' answers count: waiting costs less than coming
    # again.
    answer_timeout_seconds: float = 1.5
    # The longest turn in such a queue.
    pending_max_seconds: float = 5.0
    # A purchase has 40 bytes; what an organiser writes about an event may be a few thousand.
    body_max_bytes: int = 65_536
    # The largest body at 6.5 kB/s, slower than any phone; whoever needs longer only holds us up.
    # Not above `shutdown_seconds`, or a stop cuts the request off without an answer.
    body_timeout_seconds: float = 10.0
    # The same for a request's line and headers. A token has 4 kB at most, a cookie as much.
    header_timeout_seconds: float = 10.0
    # A request's line and headers together; a token has 4 kB at most.
    head_max_bytes: int = 65_536
    # Between two requests on one connection. Pools of clients keep 5 to 75 s (browsers longer), and
    # a client that sends into a connection that is just being closed has lost its request. Proxies
    # in front must be shorter, by default they have 60 s. The same for gateway and catalog.
    keep_alive_seconds: int = 75
    # Beyond it the connection that has idled longest is closed; each takes about 10 KiB. Never more
    # than half of the files that the process may open.
    idle_connections_max: int = 20_000
    # For a client to take what is more than the transport's 64 KiB: the document at 5 kB/s.
    send_timeout_seconds: float = 30.0
    # 200 rows a statement accept 23,800/s; 50 rows 19,800/s; more rows only add latency (DESIGN).
    accept_batch_rows: int = 200
    # One batch commits while the next is being sent; a third found no gain on two cores.
    accept_writers: int = 2
    # Requests that may wait for a writer: two seconds of work on two cores.
    accept_pending_max_rows: int = 10_000
    # Queued in the whole system before new requests get 503: ten seconds of work for one worker.
    backlog_max_rows: int = 200_000
    # Counted this often; at 40,000 decisions a second the limit is still far away in between.
    backlog_check_seconds: float = 1.0
    # Polls answered by one statement.
    status_batch_rows: int = 500
    # Polls that may wait for a reader: as many as a gateway is meant to hold waiting.
    status_pending_max_rows: int = 20_000
    # One batch of polls is read while the next is being sent.
    status_readers: int = 2
    # `?wait=` and `Prefer: wait=`; most proxies cut a silent connection after 60 s.
    wait_max_seconds: int = 30
    # Clients that wait or follow at a time; a waiting one takes about 14 KiB. Beyond, a wait is
    # answered at once, and an event stream with 503. At 0 nobody may wait.
    waiting_max_rows: int = 20_000
    # The same for each user: five purchases a second that wait for 30 s each, and a burst.
    waiting_max_rows_of_user: int = 200
    # One's own purchases, listed: rare beside the polls, and kept from taking their connections.
    list_threads: int = 2
    # Positions are counted up to here and only estimated beyond: 1,000 index entries cost 0.2 ms.
    position_max_rows: int = 1_000
    # How often waiting clients are looked up in the database while Redis cannot be listened to;
    # with Redis there every sixth time, should a message have been lost.
    wait_recheck_seconds: float = 1.0
    # Retry-After of what is not ready, or whose catalog is away.
    retry_after_seconds: int = 1

    # --- the drain ---
    # 500 rows a transaction decide 39,000/s; 100 rows 25,600/s (DESIGN).
    drain_batch_rows: int = 500
    # A sold-out backlog is closed by SQL alone, in pieces that keep each transaction short.
    drain_close_rows: int = 5_000
    # One task's turn before it goes to the back, so that one hot sale cannot starve the others.
    drain_max_batches: int = 40
    # The same in time, whichever ends first.
    drain_max_seconds: float = 0.5
    # Celery's children in each worker; on one hot ticket type only one of them is busy.
    worker_processes: int = 2
    # Results in Redis are a cache: rebuilt from PostgreSQL when missing.
    result_ttl_seconds: int = 3_600
    # A wake-up may be thought under way this long after a worker took it; then another is sent.
    wakeup_ttl_ms: int = 1_000
    # When a worker that holds a wake-up says nothing for so long, another gets it (Celery's
    # visibility timeout). Wake-ups are worth nothing after seconds; an hour of redelivery would
    # only repeat them.
    wakeup_visibility_seconds: int = 60

    # --- the sweeper ---
    # How often the sweeper looks: half of `sweep_after_seconds`, so a lost wake-up costs 1.5 s.
    sweep_interval_seconds: float = 0.5
    # A healthy worker decides within milliseconds; a second means that its wake-up was lost.
    sweep_after_seconds: float = 1.0
    # Of several sweepers one is elected for a pass; whoever stands still so long in it loses it.
    sweep_election_seconds: float = 60.0

    # --- what workers and sweepers tell of themselves, for `python -m purchase_worker.health` ---
    # The folder of their files; "" for one of this user's in the directory for temporary files.
    heartbeat_dir: str = ""
    # They tell every second or so; connecting to a broker that is silent takes the worker seconds.
    heartbeat_stale_seconds: float = 30.0
    # The same while a sweeper decides: its commit may wait for a standby, as a new sweeper's would.
    sweep_stale_seconds: float = 300.0
    # How often a worker sends itself a message: at most 2 ms of its CPU.
    self_check_seconds: float = 5.0
    # Several messages in a row; a worker that has only just connected hears them in milliseconds.
    deaf_after_seconds: float = 30.0

    # --- the audit ---
    # How often the sweeper holds the counters against what was decided since. In a rush that is
    # 400,000 rows, which PostgreSQL adds up in a third of a second.
    counter_watch_seconds: float = 10.0
    # The sweeper's second and a batch, ten times over.
    audit_queued_max_seconds: float = 15.0

    # --- PostgreSQL and Redis ---
    # Longest statement of ours is a batch of thousands of rows: tens of milliseconds.
    statement_timeout_ms: int = 5_000
    # A row is locked for one batch: milliseconds. Who waits longer gives way and tries again.
    lock_timeout_ms: int = 2_000
    # No transaction of ours idles but while a process stands still; then it must not keep locks.
    idle_in_transaction_timeout_ms: int = 10_000
    # For a new connection, and for a free one of the pool.
    database_connect_timeout_seconds: int = 2
    # A host that vanishes sends no word of it. After such a silence both ends give a connection
    # up: a client its statement, PostgreSQL the transaction and its locks. What TCP sends again
    # after 0.2, 0.6, 1.4 and 3 s may still arrive by then.
    vanished_after_seconds: int = 4
    # Off for a pooler that hands a session on after each transaction (PgBouncer). Then the limits
    # above are kept in the role, by `eventify migrate`.
    prepare_statements: bool = True
    # Redis answers within a millisecond, and nobody needs it: PostgreSQL is asked instead.
    redis_timeout_seconds: float = 0.5

    # --- the process ---
    # DEBUG, INFO, WARNING, ERROR or CRITICAL.
    log_level: str = "INFO"
    # Where a worker or a sweeper tells its metrics; the others have a port of their own.
    metrics_host: str = "127.0.0.1"
    # For whoever may reach that host; 0: nowhere.
    metrics_port: int = 0
    # A line for each request; the batches' lines name every purchase without it (docs/logs.md).
    access_log: bool = False

    @field_validator(
        "database_url", "gateway_database_url", "catalog_database_url", "worker_database_url"
    )
    @classmethod
    def _postgresql_url(cls, url: str, info: ValidationInfo) -> str:
        if url or info.field_name == "database_url":
            sqlalchemy_url(url)
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, url: str) -> str:
        check_redis_url(url)
        return url

    @field_validator("broker_url")
    @classmethod
    def _broker_url(cls, url: str) -> str:
        if url:
            check_broker_url(url)
        return url

    @field_validator("catalog_url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must be an http:// or https:// URL")
        return url

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, url: str) -> str:
        return parse_public_url(url).url if url else url

    @field_validator("trusted_proxies")
    @classmethod
    def _trusted_proxies(cls, proxies: str) -> str:
        parse_proxies(proxies)
        return proxies

    @field_validator("log_level")
    @classmethod
    def _level(cls, level: str) -> str:
        if level.upper() not in LOG_LEVELS:
            raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
        return level.upper()

    @field_validator("*")
    @classmethod
    def _in_range(cls, value: Any, info: ValidationInfo) -> Any:
        """A limit of nothing, or less, would stop everything, or lift what it should hold."""
        name = info.field_name or ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        zero_is_meant = name in MAY_BE_ZERO or cls.model_fields[name].default == 0
        if value < 0 or (value == 0 and not zero_is_meant):
            raise ValueError("must not be negative" if zero_is_meant else "must be above 0")
        if name.endswith("_port") and value > LARGEST_PORT:
            raise ValueError(f"must not be above {LARGEST_PORT}")
        return value

    @property
    def celery_broker_url(self) -> str:
        return self.broker_url or self.redis_url


@cache
def get_settings() -> Settings:
    """The process's settings.

    Raises:
        ConfigurationError: a setting is missing or malformed, and the message names each of them;
            or the folder of secrets, or a file in it, cannot be read.
    """
    try:
        return Settings(_secrets_dir=_secrets_dir())
    except SettingsError as error:  # of a file that is there and cannot be read
        raise ConfigurationError(f"{SECRETS_DIR}: {error}: {error.__cause__}.") from error
    except ValidationError as error:
        problems = (
            f"{variable(str(e['loc'][0]).removeprefix(PREFIX))}{_told(e)}" for e in error.errors()
        )
        raise ConfigurationError("; ".join(problems)) from error


def unknown_variables(names: Iterable[str]) -> dict[str, str | None]:
    """Variables that look like settings of ours and are none, each with what was probably meant.

    They keep nobody from starting: an orchestrator may set such names of its own, and an older
    version must run in the environment of a newer one.

    Args:
        names: of environment variables, ours and others'.
    """
    known = {variable(name) for name in Settings.model_fields} | set(OTHER_VARIABLES)
    unknown = {name.upper() for name in names if name.upper().startswith(PREFIX)} - known
    return {
        name: next(iter(get_close_matches(name, known, n=1, cutoff=0.85)), None) for name in unknown
    }


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{setting.upper()}"


def _secrets_dir() -> Path | None:
    """Where secrets stand in files; None where none do.

    Raises:
        ConfigurationError: there is no such folder.
    """
    given = os.environ.get(SECRETS_DIR)
    if not given:
        return None
    folder = Path(given)
    if not folder.is_dir():
        raise ConfigurationError(f"{SECRETS_DIR} is {given}, which is no folder.")
    return folder


def _told(error: ErrorDetails) -> str:
    """What is wrong with a setting, to be read after its name."""
    if error["type"] == "missing":
        return " is not set"
    ours = error["msg"].removeprefix("Value error, ")
    return f" {ours}" if ours != error["msg"] else f": {ours}"
