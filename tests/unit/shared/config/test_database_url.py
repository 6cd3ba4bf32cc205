"""A database's URL names one server, or several of which one can be written to."""

import pytest

from shared.config.database_url import driver_arguments, sqlalchemy_url, with_login
from shared.config.url_passwords import without_passwords


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+asyncpg"]
)
def test_our_driver_is_used_regardless_of_the_url(scheme: str) -> None:
    url = sqlalchemy_url(f"{scheme}://ada:secret@db.example:5433/sales")
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.host, url.port, url.database) == (
        *("ada", "db.example", 5433, "sales"),
    )


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_several_servers_are_named_as_libpq_names_them(scheme: str) -> None:
    several = f"{scheme}://ada:s%40,%2Ft@a.example:5432,[::1]:5433,b/sales?sslmode=require"
    assert driver_arguments(several) == {
        "user": "ada",
        "password": "s@,/t",
        "host": "a.example,::1,b",
        "port": "5432,5433,",
        "dbname": "sales",
        "sslmode": "require",
    }


@pytest.mark.parametrize(
    "mistake",
    [
        "nonsense",
        "mysql://ada:secret@db.example/sales",
        "postgresql://ada:secret@db.example:first/sales",
        "postgresql://ada:secret@a,b/sales?colour=red",
        "postgresql://ada:secret@[::1,b/sales",
    ],
)
def test_a_malformed_url_is_an_error_without_the_password(mistake: str) -> None:
    with pytest.raises(ValueError, match="is not a URL such as postgresql://") as error:
        sqlalchemy_url(mistake)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:secret@a:1,b:2/sales", "postgresql://ada:***@a:1,b:2/sales"),
        ("redis://:secret@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        (
            "redis+sentinel://:secret@first,second/tickets?sentinel_password=secret",
            "redis+sentinel://:***@first,second/tickets?sentinel_password=***",
        ),
        ("postgresql:///x?user=ada&password=secret", "postgresql:///x?user=ada&password=***"),
        ("sentinel://:secret@a;sentinel://:secret@b", "sentinel://:***@a;sentinel://:***@b"),
        ("postgresql://ada@db.example/sales", "postgresql://ada@db.example/sales"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:se@cr@et@first/0", "redis://:***@first/0"),
        ("redis://:a,se@cret@first/0", "redis://:***@first/0"),
        ("postgresql://ada:se/cret@db/sales", "postgresql://ada:***@db/sales"),
        ("postgresql://ada@x:secret@db/sales", "postgresql://ada@x:***@db/sales"),
        ("amqp://a:se@cret@x//;amqp://a:se@cret@y//", "amqp://a:***@x//;amqp://a:***@y//"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_passwords(url) == shown


def test_of_several_logins_in_the_query_the_last_one_counts() -> None:
    named = driver_arguments("postgresql://x:y@db/sales?user=a&user=b&password=c&password=d")
    assert (named["user"], named["password"]) == ("b", "d")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://owner:owners@db:1/sales?sslmode=require",
        "postgresql://owner:own%25/ers@db:1/sales?sslmode=require",
        "postgresql://owner@x:owners@db:1/sales?sslmode=prefer&sslmode=require",
        "postgresql://db:1/sales?user=owner&sslmode=require&password=owners",
        "postgresql://a:b@db:1/sales?sslmode=require&password=owners",
    ],
)
def test_another_login_replaces_that_of_the_url(url: str) -> None:
    other = driver_arguments(with_login(url, "gateway", "secret"))
    assert other == driver_arguments(url) | {"user": "gateway", "password": "secret"}
    assert other.keys() == {"user", "password", "host", "port", "dbname", "sslmode"}
    assert "own" not in with_login(url, "gateway", "secret")
