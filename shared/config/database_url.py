"""Reads the URL of a database, which may name several servers, as libpq's URLs do."""

import re
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
            return make_url(database_url).set(drivername=DRIVER)
        # SQLAlchemy has another syntax for several hosts.
        parts = parse_dsn(libpq_url(database_url))
    except (ArgumentError, ValueError, psycopg2.ProgrammingError) as error:
        raise ValueError(WANTED) from error
    user, password, name = (parts.pop(part, None) for part in ("user", "password", "dbname"))
    return URL.create(DRIVER, user, password, database=name, query=parts)


def with_login(database_url: str, user: str, password: str) -> str:
    """The same database for another login; neither contains characters that need quoting."""
    scheme, rest = database_url.split("://", 1)
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{user}:{password}@{authority.rpartition('@')[2]}{slash}{path}"


def libpq_url(database_url: str) -> str:
    return SCHEME.sub("postgresql", database_url)
