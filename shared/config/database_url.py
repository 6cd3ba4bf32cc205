"""Reads the URL of a database, which may name several servers, as libpq's own form does."""

import re
from urllib.parse import urlsplit

import psycopg2
from psycopg2.extensions import parse_dsn
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+psycopg2"
# Said by each connection, whatever the server, its database or the role has by default.
CLIENT_ENCODING = "UTF8"
WANTED = "is not a URL such as postgresql://user:password@host/name"
SCHEME = re.compile(r"^postgres(ql)?(\+\w+)?(?=://)")


def sqlalchemy_url(database_url: str) -> URL:
    """The URL with the driver that we use, whatever driver it names.

    `postgresql://user:password@first:5432,second:5432/name` names two servers, of which that one is
    connected to that can be written to.

    Raises:
        ValueError: it is no such URL; the message stands after the name of a setting, and does not
            repeat the password.
    """
    if not SCHEME.match(database_url):
        raise ValueError(WANTED)
    try:
        if "," not in urlsplit(database_url).netloc.rpartition("@")[2]:
            return make_url(database_url).set(drivername=DRIVER)
        # SQLAlchemy writes several hosts another way.
        parts = parse_dsn(libpq_url(database_url))
    except (ArgumentError, ValueError, psycopg2.ProgrammingError) as error:
        raise ValueError(WANTED) from error
    user, password, name = (parts.pop(part, None) for part in ("user", "password", "dbname"))
    return URL.create(DRIVER, user, password, database=name, query=parts)


def with_login(database_url: str, user: str, password: str) -> str:
    """The same database for another login; both without what a URL has to quote."""
    scheme, rest = database_url.split("://", 1)
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{user}:{password}@{authority.rpartition('@')[2]}{slash}{path}"


def libpq_url(database_url: str) -> str:
    """The URL as libpq reads it, of one server or several."""
    return SCHEME.sub("postgresql", database_url)
