"""Reads the URL of a Redis, which may name its sentinels."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

ONE_SERVER = ("redis://", "rediss://", "unix://")
SENTINELS = "redis+sentinel://"
REDIS = (*ONE_SERVER, SENTINELS)
CLUSTERS = ("redis+cluster://", "rediss+cluster://")
SENTINEL_PORT = 26379
WANTED = "must be a redis://, rediss://, unix:// or redis+sentinel:// URL"
WANTED_OF_SENTINELS = (
    "is not a URL such as redis+sentinel://:password@first:26379,second:26379/name/0"
)
WANTED_OF_ONE = (
    "is not a URL such as redis://:password@host:6379/0 (quote special characters of the password:"
    " / is %2F)"
)
NO_CLUSTER = "names a Redis Cluster, which Celery cannot use; give one Redis, or sentinels"
OPTIONS = ("sentinel_username", "sentinel_password")

# `username` and `password`, those that are given.
Credentials = dict[str, str]


@dataclass(frozen=True, slots=True)
class Sentinels:
    """`service`: the name of the primary. `credentials`: of Redis; `own_credentials`: of the
    sentinels themselves.
    """

    addresses: tuple[tuple[str, int], ...]
    service: str
    database: int
    credentials: Credentials
    own_credentials: Credentials


def check_redis_url(url: str) -> str:
    """The URL, if our clients can use it.

    Raises:
        ValueError: they cannot; the message follows the name of a setting.
    """
    if url.startswith(CLUSTERS):
        raise ValueError(NO_CLUSTER)
    if not url.startswith(REDIS):
        raise ValueError(WANTED)
    if url.startswith(SENTINELS):
        read_sentinels(url)
        return url
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(WANTED_OF_ONE) from None
    return url


def read_sentinels(url: str) -> Sentinels:
    """Parse `redis+sentinel://[[user]:password@]host[:port][,host[:port]]/name[/database]`.

    Credentials of the sentinels themselves are `?sentinel_username=` and `sentinel_password=`.

    Raises:
        ValueError: it is malformed; the message does not contain a password.
    """
    try:
        sentinels = _read(url.removeprefix(SENTINELS))
    except ValueError as error:
        raise ValueError(WANTED_OF_SENTINELS) from error
    if not sentinels.service:
        raise ValueError(WANTED_OF_SENTINELS)
    return sentinels


def _read(address: str) -> Sentinels:
    # urlsplit reads one host only, and MultiHostUrl of pydantic splits passwords at commas.
    netloc, _, rest = address.partition("/")
    userinfo, _, hosts = netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    path, _, query = rest.partition("?")
    service, _, database = path.rstrip("/").partition("/")
    own = dict.fromkeys(OPTIONS, "") | dict(parse_qsl(query, strict_parsing=bool(query)))
    username_of_own, password_of_own = own.values()  # ValueError: an unknown option
    return Sentinels(
        tuple(_address(host) for host in hosts.split(",")),
        unquote(service),
        int(database or 0),
        _credentials(unquote(user), unquote(password)),
        _credentials(username_of_own, password_of_own),
    )


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if parts.hostname is None:
        raise ValueError(WANTED_OF_SENTINELS)
    return parts.hostname, parts.port or SENTINEL_PORT


def _credentials(username: str, password: str) -> Credentials:
    credentials = {"username": username, "password": password}
    return {name: value for name, value in credentials.items() if value}
