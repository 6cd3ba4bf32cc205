"""Every setting of Eventify by part, with its unit in its name and the reason for its default.

`settings.py` reads them from the environment; `eventify settings --markdown` prints them as
docs/configuration.md. A number that no operator has to tune is a constant beside the code that uses
it. Only Settings is instantiated: with `defer_build` the groups get no validators of their own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
)

from shared.config.broker_url import check_broker_url
from shared.config.currencies import currency
from shared.config.database_url import sqlalchemy_url
from shared.config.public_url import (
    parse_networks,
    parse_origins,
    parse_proxies,
    parse_public_url,
)
from shared.config.redis_url import check_redis_url
from shared.config.trusted_issuers import parse_issuers

LARGEST_PORT = 65_535


def _unless_empty(check: Callable[[str], object]) -> AfterValidator:
    def validate(value: str) -> str:
        if value:
            check(value)
        return value

    return AfterValidator(validate)


def _postgresql_url(url: str) -> str:
    sqlalchemy_url(url)
    return url


def _http_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must be an http:// or https:// URL")
    return url


def _issuers_beside_ours(setting: str, others: ValidationInfo) -> str:
    if others.data.get("token_issuer") in {each.issuer for each in parse_issuers(setting)}:
        raise ValueError("must not name EVENTIFY_TOKEN_ISSUER")
    return setting


Port = Annotated[int, Field(gt=0, le=LARGEST_PORT)]
OptionalPostgresqlUrl = Annotated[str, _unless_empty(sqlalchemy_url)]


class ConnectionSettings(BaseModel, defer_build=True):
    """What the services connect to."""

    database_url: Annotated[str, AfterValidator(_postgresql_url)]
    """Of several hosts, with commas between, the one that accepts writes is used."""
    gateway_database_url: OptionalPostgresqlUrl = ""
    """Only for `eventify migrate` and `up`, which make the gateway's own login from this URL.
    The gateway reads it as its EVENTIFY_DATABASE_URL; for those two, that is the owner's."""
    catalog_database_url: OptionalPostgresqlUrl = ""
    """The same for the catalog."""
    worker_database_url: OptionalPostgresqlUrl = ""
    """The same for worker and sweeper."""
    sender_database_url: OptionalPostgresqlUrl = ""
    """The same for the sender of webhooks, which alone reads their secrets."""
    auditor_database_url: OptionalPostgresqlUrl = ""
    """The same for `eventify audit --record`, which reads sales and writes only its result."""
    redis_url: Annotated[str, AfterValidator(check_redis_url)] = "redis://127.0.0.1:6379/0"
    """Recent results and the marks of pending wake-ups; it may be wiped at any time."""
    broker_url: Annotated[str, _unless_empty(check_broker_url)] = ""
    """Celery's broker, RabbitMQ or a Redis; `redis_url` unless set (docs/engines.md)."""
    catalog_url: Annotated[str, AfterValidator(_http_url)] = "http://127.0.0.1:8001"
    """Where the gateway finds the catalog."""
    keys_dir: Path = Path(".eventify/keys")
    """Signing keys `<kid>.pem` (gateway) and public keys `<kid>.pub.pem` (every service)."""


class AddressSettings(BaseModel, defer_build=True):
    """Where clients reach the system, and where the services listen."""

    public_url: Annotated[str, AfterValidator(lambda url: url and parse_public_url(url).url)] = ""
    """https://shop.example/tickets: links begin with it, and a proxy removes its path. "" takes
    it from each request: Host, or what a trusted proxy forwards."""
    trusted_proxies: Annotated[str, _unless_empty(parse_proxies)] = "127.0.0.1,::1"
    """Peers whose X-Forwarded-For, -Proto, -Host and -Prefix are trusted: addresses or
    networks, with commas between; "" for none, "*" for all."""
    cors_origins: Annotated[str, _unless_empty(parse_origins)] = ""
    """Other origins, with commas between, whose pages may use `/api/` (CORS): `https://a.example`.
    "*" is refused: any page could use the browsers of its visitors."""
    gateway_host: str = "127.0.0.1"
    """The address of one interface; 0.0.0.0 for all of them, as in a container."""
    gateway_port: Port = 8000
    """The only port that clients have to reach."""
    catalog_host: str = "127.0.0.1"
    """For the gateways alone: the catalog is behind them."""
    catalog_port: Port = 8001
    """The port that `catalog_url` names."""
    shutdown_seconds: PositiveInt = 10
    """Requests in progress at a stop may take this long; long polls are answered at once."""


class AccountSettings(BaseModel, defer_build=True):
    """Accounts and tokens."""

    registration_open: bool = True
    """Whether anybody may register; otherwise the response is 403. Existing accounts sign in."""
    token_issuer: str = "eventify"
    """The `iss` of tokens, which every service checks; a change ends all tokens."""
    token_audience: str = "eventify"
    """The `aud` of tokens; another for each installation that shares keys."""
    trusted_issuers: Annotated[str, AfterValidator(_issuers_beside_ours)] = ""
    """Whose access tokens are accepted besides, for gateway and catalog: a JSON list of
    `issuer`, `audience`, `jwks_url`, and if need be `algorithms` (`["RS256"]`),
    `leeway_seconds` (5) and `allow_http` (docs/operations.md#trusted-issuers)."""
    access_token_seconds: PositiveInt = 3600
    """Long enough for an on-sale without a refresh in the middle."""
    refresh_token_seconds: PositiveInt = 86_400
    """An app that is opened once a day stays signed in; a key must verify as long as this."""
    refresh_retry_seconds: PositiveInt = 60
    """A client that lost the response may repeat a refresh for this long and gets the same
    tokens: in a rush it may need several tries, and a later one signs its user out. A thief who
    sends a spent token within this time is noticed only at a later refresh."""
    refresh_cleanup_seconds: PositiveFloat = 300.0
    """Expired refresh tokens are deleted this often."""
    refresh_cleanup_families: PositiveInt = 1_000
    """Expired tokens that one statement looks at, of as many sign-ins at most: about 10 ms."""
    token_cache_rows: PositiveInt = 20_000
    """Verified tokens that are remembered; 20,000 take about 25 MB."""
    api_keys_trusted_seconds: PositiveFloat = 60.0
    """While the database is unavailable, known API keys work for this long, and then get 503: so
    long a gateway that is cut off may not learn of a revocation."""
    password_hash_threads: PositiveInt = 1
    """Argon2id takes a core for tens of milliseconds: one at a time leaves the rest to
    purchases."""
    password_hash_waiting_max: PositiveInt = 100
    """Sign-ins that may wait for a core: about two seconds of hashing; beyond it the response
    is 503."""
    account_threads: PositiveInt = 2
    """Threads for the queries of sign-ins and registrations, a few milliseconds each; as many
    for refreshes and all other uses of a token."""


class CatalogProxySettings(BaseModel, defer_build=True):
    """The gateway's proxy to the catalog."""

    catalog_timeout_seconds: PositiveFloat = 10.0
    """For a change; reads have `answer_timeout_seconds`. The catalog's statements end at
    `statement_timeout_ms`, and a change that waits for a lock should end with a known result."""
    catalog_user_requests_max: PositiveInt = 10
    """Concurrent catalog requests of one user, for each gateway; more wait for
    `answer_timeout_seconds`. A browser opens six connections; ten users can fill the pool."""
    schema_cache_seconds: NonNegativeFloat = 60.0
    """How old the catalog's part of the OpenAPI document may be; 0 reads it each time."""
    unread_answers_max_bytes: PositiveInt = 16_777_216
    """Bytes of large responses (lists) that a gateway holds for clients which have not read
    them yet. A page has 256 KiB at most; beyond this the slowest reader is disconnected."""


class CatalogSettings(BaseModel, defer_build=True):
    """The catalog: each thread has its own connection, so no kind of request uses up another's."""

    catalog_read_threads: PositiveInt = 2
    """Rows by id: a millisecond each. Of two or more threads, for reads, lists or changes, no user
    ever has all."""
    catalog_list_threads: PositiveInt = 2
    """Pages of lists: some milliseconds each."""
    catalog_search_threads: PositiveInt = 1
    """A search reads every event: it may keep one core of PostgreSQL busy, and no more."""
    catalog_write_threads: PositiveInt = 3
    """Changes; those that find a row locked wait without a thread."""
    catalog_list_timeout_ms: PositiveInt = 1_000
    """A statement of a list or a search; 100,000 events are counted in 20 ms."""
    default_currency: Annotated[str, AfterValidator(currency)] = "EUR"
    """ISO 4217: of an event that names none when it is created or replaced."""


class RateLimitSettings(BaseModel, defer_build=True):
    """Rate limits; a burst or rate of 0 turns the limit off."""

    purchase_rate_burst: NonNegativeInt = 20
    """Purchase requests of one user at once: a person who clicks in haste stays below."""
    purchase_rate_per_second: NonNegativeFloat = 5.0
    """And steadily: a client that honours Retry-After stays far below."""
    key_rate_burst: NonNegativeInt = 2_000
    """Purchase requests with all API keys of a user at once, those of all their buyers together."""
    key_rate_per_second: NonNegativeFloat = 1_000.0
    """And steadily: a shop's whole on-sale comes with one key."""
    resolution_rate_burst: NonNegativeInt = 10_000
    """Confirmations, releases and cancellations with all API keys of a user at once. With a token:
    as many as purchases. Extensions have a limit of their own (docs/api.md)."""
    resolution_rate_per_second: NonNegativeFloat = 5_000.0
    """And steadily: as many as two cores confirm (docs/benchmark.md)."""
    catalog_write_rate_burst: NonNegativeInt = 60
    """Changes of events and ticket types by one user at once: a form that sets up a whole event."""
    catalog_write_rate_per_second: NonNegativeFloat = 10.0
    """And steadily: an organiser's import of thousands of rows runs at this rate."""
    list_rate_burst: NonNegativeInt = 60
    """Pages of lists and searches by one user at once: a page of a shop that shows several
    lists."""
    list_rate_per_second: NonNegativeFloat = 10.0
    """And steadily: a script that follows `next` reads 1,000 rows a second."""
    feed_rate_burst: NonNegativeInt = 200
    """Pages of ledgers by one user at once, and as many requests for live figures: some dozens of
    readers that begin."""
    feed_rate_per_second: NonNegativeFloat = 200.0
    """And steadily: two readers at the end of a hot sale have 100 pages a second each."""
    sign_in_rate_burst: NonNegativeInt = 60
    """For each address, sign-in and registration together; many users may share an address, so
    a crowd gets in. Refreshes, token checks and sign-outs: five times as many
    (docs/operations.md)."""
    sign_in_rate_per_second: NonNegativeFloat = 1.0
    """The rate at which one address can guess passwords; refreshes: twenty times that."""


class HttpSettings(BaseModel, defer_build=True):
    """HTTP, in gateway and catalog."""

    answer_timeout_seconds: PositiveFloat = 1.5
    """For PostgreSQL; then the response is 503: within two seconds, with the network to the
    client. The statement may still take effect: a commit waits without end for a standby that
    is unavailable. While a queue moves, each finished batch restarts this time: waiting costs
    less than a retry."""
    pending_max_seconds: PositiveFloat = 5.0
    """The longest wait in such a queue."""
    body_max_bytes: PositiveInt = 65_536
    """A purchase has 40 bytes; the description of an event may have a few thousand."""
    body_timeout_seconds: PositiveFloat = 10.0
    """The largest body at 6.5 kB/s, slower than any phone. Not above `shutdown_seconds`, or a
    stop cuts the request off without a response."""
    header_timeout_seconds: PositiveFloat = 10.0
    """The same for a request's line and headers."""
    head_max_bytes: PositiveInt = 65_536
    """A request's line and headers together; a token has 4 kB at most, a cookie as much."""
    keep_alive_seconds: PositiveInt = 75
    """Idle time of a connection. Clients' pools keep 5 to 75 s (browsers longer), and a request
    that is sent into a closing connection is lost. Proxies in front must be shorter, by default
    they have 60 s."""
    idle_connections_max: PositiveInt = 20_000
    """Beyond it the connection that has been idle longest is closed; each takes about 10 KiB.
    Never more than half of the files that the process may open."""
    send_timeout_seconds: PositiveFloat = 30.0
    """For a client to read what exceeds the transport's 64 KiB: the OpenAPI document at 5 kB/s."""
    access_log: bool = False
    """A line for each request; the batches' lines name every purchase without it (docs/logs.md)."""


class PurchaseSettings(BaseModel, defer_build=True):
    """Purchases in the gateway: accept, status and waiting."""

    accept_batch_rows: PositiveInt = 200
    """200 rows a statement accept 23,800/s; 50 rows 19,800/s; more rows only add latency
    (measured on two cores)."""
    accept_writers: PositiveInt = 2
    """One batch commits while the next is being sent; a third found no gain on two cores."""
    accept_pending_max_rows: PositiveInt = 10_000
    """Requests that may wait for a writer: two seconds of work on two cores."""
    backlog_max_rows: PositiveInt = 200_000
    """Queued in the whole system before new requests get 503: ten seconds of work for one
    worker."""
    backlog_check_seconds: PositiveFloat = 1.0
    """How often it is counted; at 40,000 decisions a second the limit is still far away in
    between."""
    status_pending_max_rows: PositiveInt = 20_000
    """Polls that may wait for a reader: as many as a gateway is meant to hold waiting."""
    status_readers: PositiveInt = 2
    """One batch of polls is read while the next is being sent."""
    wait_max_seconds: PositiveInt = 30
    """`?wait=` and `Prefer: wait=`; most proxies close a silent connection after 60 s."""
    waiting_max_rows: NonNegativeInt = 20_000
    """Concurrent long polls and event streams; each takes about 11 KiB. Beyond, a long poll is
    answered at once, and an event stream with 503. 0 turns waiting off."""
    waiting_max_rows_of_user: PositiveInt = 200
    """The same for each user, and each buyer of an API key: five purchases a second that wait for
    30 s each, and a burst."""
    waiting_max_rows_of_keys: PositiveInt = 10_000
    """And for all API keys of a user together, with all their buyers: half of a gateway for the
    whole on-sale of one shop."""
    slow_purchase_seconds: NonNegativeFloat = 0.0
    """Purchases that take this long from receipt to answer are logged as `slow_purchase`, with the
    time in each stage, the 100 slowest of each second (docs/operations.md#slow-purchases). 0: none.
    """
    list_threads: PositiveInt = 2
    """Lists of purchases: rare beside the polls, and kept from using their connections."""
    position_max_rows: PositiveInt = 1_000
    """Positions are counted up to here and estimated beyond: 1,000 index entries cost 0.2 ms."""
    expired_holds_max: PositiveInt = 3
    """Holds of one buyer for one event that may expire within an hour; then no more are given. The
    event's owner who buys for nobody else has no such limit."""
    resolution_wait_seconds: PositiveInt = 10
    """How long a confirmation, release, cancellation or extension waits for its decision without
    `Prefer: wait`: as long as a payment provider waits for a webhook. It takes milliseconds."""
    wait_recheck_seconds: PositiveFloat = 1.0
    """How often waiting clients are looked up in the database while Redis is unavailable; with
    Redis every sixth time, should a message have been lost."""


class DrainSettings(BaseModel, defer_build=True):
    """Worker: the drain."""

    drain_batch_rows: PositiveInt = 500
    """500 rows a transaction decide 39,000/s; 100 rows 25,600/s (measured on two cores)."""
    drain_close_rows: PositiveInt = 5_000
    """A sold-out queue is closed by SQL alone, in pieces that keep each transaction short."""
    drain_max_batches: PositiveInt = 40
    """Batches of one task, so that one hot on-sale cannot starve others."""
    drain_max_seconds: PositiveFloat = 0.5
    """The same in time; the first limit that is reached ends the task."""
    worker_processes: PositiveInt = 2
    """Celery's child processes in each worker; one hot ticket type keeps only one of them busy."""
    result_ttl_seconds: PositiveInt = 3_600
    """Results in Redis are a cache: rebuilt from PostgreSQL when missing."""


class SweeperSettings(BaseModel, defer_build=True):
    """Sweeper and audit."""

    sweep_interval_seconds: PositiveFloat = 0.5
    """Half of `sweep_after_seconds`, so a lost wake-up costs 1.5 s at most."""
    sweep_after_seconds: PositiveFloat = 1.0
    """The sweeper decides what has been queued this long. A healthy worker takes milliseconds;
    a second means that the wake-up was lost."""
    sweep_election_seconds: PositiveFloat = 60.0
    """Of several sweepers one is elected for a pass; one that stalls this long loses the
    election."""
    counter_watch_seconds: PositiveFloat = 10.0
    """How often the sweeper compares the counters with what was decided since. In a rush that
    is 400,000 rows, which PostgreSQL adds up in a third of a second."""
    audit_queued_max_seconds: PositiveFloat = 15.0
    """Ten times the sweeper's second and a batch."""


class WebhookSettings(BaseModel, defer_build=True):
    """Webhooks."""

    webhooks_max_of_user: PositiveInt = 20
    """Of one account. Each follows one event, or all of its owner's."""
    webhook_allow_http: bool = False
    """Whether a webhook may have an http:// URL: buyers' names then go over the network
    unencrypted. For tests, and receivers in the same private network."""
    webhook_allowed_networks: Annotated[str, _unless_empty(parse_networks)] = ""
    """Networks that webhooks may reach although they are not public, with commas between:
    10.0.0.0/8. All others of the kind are refused when a sender connects; 64:ff9b::/96 too, by
    which a host without IPv4 reaches the public Internet through NAT64."""
    webhook_timeout_seconds: PositiveFloat = 15.0
    """For one delivery, from the name's look-up to the response's status. A sender that was killed
    is replaced a few seconds after this time."""
    webhook_deliveries_max: PositiveInt = 500
    """Concurrent deliveries of a sender: each takes a socket and 100 kB. Of one webhook four; of
    those that fail one, and half of this limit together."""
    webhook_retry_first_seconds: PositiveFloat = 5.0
    """After the first failure of a delivery. Each further one doubles it, and adds up to half."""
    webhook_retry_max_seconds: PositiveFloat = 86_400.0
    """The longest time between two attempts."""
    webhook_give_up_seconds: PositiveFloat = 259_200.0
    """When deliveries have failed for this long, the next failure, up to
    `webhook_retry_max_seconds` later, disables the webhook: three days. Nothing is lost, and once
    it is enabled it goes on where it stopped."""
    webhook_poll_seconds: PositiveFloat = 1.0
    """How often a sender looks in the database for what is to be retried, and for entries that no
    message has announced."""


class HealthSettings(BaseModel, defer_build=True):
    """Heartbeats of workers and sweepers, which `python -m purchase_worker.health` reads."""

    heartbeat_dir: str = ""
    """The directory of their files; "" for one of this user's in the directory for temporary
    files."""
    heartbeat_stale_seconds: PositiveFloat = 30.0
    """They beat about once a second; connecting to an unresponsive broker takes the worker
    seconds."""
    sweep_stale_seconds: PositiveFloat = 300.0
    """The same while a sweeper decides: its commit may wait for a standby, as a new sweeper's
    would."""
    self_check_seconds: PositiveFloat = 5.0
    """How often a worker sends itself a message: at most 2 ms of its CPU."""
    consumer_stalled_after_seconds: PositiveFloat = 30.0
    """A worker that receives none of them for this long is unhealthy. That is several messages
    in a row."""


class DatabaseSettings(BaseModel, defer_build=True):
    """PostgreSQL and Redis."""

    statement_timeout_ms: PositiveInt = 5_000
    """The longest statement is a batch of thousands of rows: tens of milliseconds."""
    lock_timeout_ms: PositiveInt = 2_000
    """A row is locked for one batch: milliseconds. A statement that waits longer is rolled back
    and run again."""
    idle_in_transaction_timeout_ms: PositiveInt = 10_000
    """A transaction is idle only while its process is stopped; then it must not keep locks."""
    database_connect_timeout_seconds: PositiveInt = 2
    """For a new connection, and for a free one of the pool."""
    vanished_after_seconds: PositiveInt = 4
    """A host that vanishes closes no connection. After this long without a packet both ends
    drop the connection: a client its statement, PostgreSQL the transaction and its locks. TCP's
    retransmissions after 0.2, 0.6, 1.4 and 3 s may still arrive by then."""
    prepare_statements: bool = True
    """Off for a pooler in transaction mode (PgBouncer). Then the limits above are stored in the
    role, by `eventify migrate`."""
    redis_timeout_seconds: PositiveFloat = 0.5
    """Redis responds within a millisecond, and nothing depends on it: PostgreSQL is read
    instead."""


class ProcessSettings(BaseModel, defer_build=True):
    """Logs and metrics of each process."""

    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)
    ] = "INFO"
    """DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    metrics_host: str = "127.0.0.1"
    """Where workers and sweepers serve their metrics; gateway and catalog use their own port."""
    metrics_port: Annotated[int, Field(ge=0, le=LARGEST_PORT)] = 0
    """The port there; 0 serves no metrics."""
