"""Reads the URL of a database, which may name several servers, as libpq's URLs do."""

import re
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from psycopg2.extensions import parse_dsn
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+psycopg2"
# Set by each connection, regardless of the defaults of server, database and role.
CLIENT_ENCODING = "UTF8"
WANTED = "is not a URL such as postgresql://user:password@host/name"
SCHEME = re.compile(r"^postgres(ql)?(\+\w+)?(?=://)")
# As SQLAlchemy reads it: a password may have any character but `@`.
LOGIN = re.compile(r"(?<=://)[^:/]*(:[^@]*)?@")
# In the query, these replace what stands in front of the host.
LOGIN_IN_QUERY = ("user", "password")


def sqlalchemy_url(database_url: str) -> URL:
    """The URL with our driver, regardless of the driver in it.

    `postgresql://user:password@first:5432,second:5432/name` names two servers; the one that accepts
    writes is used.

    Raises:
        ValueError: it is malformed; the message follows the name of a setting, and does not contain
            the password.
    """
    if not SCHEME.match(database_url):
        raise ValueError(WANTED)
    try:
        if "," not in urlsplit(database_url).netloc.rpartition("@")[2]:
            url = make_url(database_url).set(drivername=DRIVER)
            user, password = (option_of(url, name) for name in LOGIN_IN_QUERY)
            named = url.difference_update_query(LOGIN_IN_QUERY)
            return named.set(username=user or None, password=password or None)
        # SQLAlchemy has another syntax for several hosts.
        parts = parse_dsn(libpq_url(database_url))
    except (ArgumentError, ValueError, psycopg2.ProgrammingError) as error:
        raise ValueError(WANTED) from error
    user, password, name = (parts.pop(part, None) for part in ("user", "password", "dbname"))
    return URL.create(DRIVER, user, password, database=name, query=parts)


def option_of(url: URL, name: str) -> str:
    """A connection option in the URL's query; of several values the last, as in libpq."""
    value = url.query.get(name, "")
    return value if isinstance(value, str) else value[-1]


def with_login(database_url: str, user: str, password: str) -> str:
    """The same database for another login; neither contains characters that need quoting."""
    scheme, rest = LOGIN.sub("", database_url, count=1).split("://", 1)
    place, _, query = rest.partition("?")
    parts = [part for part in query.split("&") if part.partition("=")[0] not in LOGIN_IN_QUERY]
    others = f"?{'&'.join(parts)}" if any(parts) else ""
    return f"{scheme}://{user}:{password}@{place}{others}"


def driver_arguments(database_url: str) -> dict[str, Any]:
    """What psycopg2 gets for a URL: libpq would read special characters of a password otherwise.

    Raises:
        ValueError: as `sqlalchemy_url`.
    """
    url = sqlalchemy_url(database_url)
    _, arguments = url.get_dialect()().create_connect_args(url)
    # Of several values the last, as in libpq.
    return {
        name: value[-1] if isinstance(value, tuple) else value for name, value in arguments.items()
    }


def libpq_url(database_url: str) -> str:
    return SCHEME.sub("postgresql", database_url)
