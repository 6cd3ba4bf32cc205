"""Which URL may name a Redis, and what is read from one that names sentinels."""

import pytest

from shared.config.redis_url import Sentinels, check_redis_url, read_sentinels


def test_sentinels_are_named_by_their_hosts_and_the_service_they_watch() -> None:
    url = "redis+sentinel://:secret@first:26380,second/tickets/3"
    assert read_sentinels(url) == Sentinels(
        addresses=(("first", 26380), ("second", 26379)),
        service="tickets",
        database=3,
        credentials={"password": "secret"},
        own_credentials={},
    )


def test_sentinels_may_have_credentials_of_their_own() -> None:
    named = read_sentinels(
        "redis+sentinel://ada:p%40ss%2F@[::1]:1/tickets"
        "?sentinel_username=watch&sentinel_password=d%26og"
    )
    assert named.addresses == (("::1", 1),)
    assert named.database == 0
    assert named.credentials == {"username": "ada", "password": "p@ss/"}
    assert named.own_credentials == {"username": "watch", "password": "d&og"}


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "rediss://:secret@redis.example/1",
        "unix:///run/redis.sock?db=1",
        "redis+sentinel://first,second,third/tickets",
    ],
)
def test_one_redis_or_its_sentinels_may_be_named(url: str) -> None:
    check_redis_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://:secret@first,second",
        "redis+sentinel://:secret@first,second/",
        "redis+sentinel://:secret@first:port/tickets",
        "redis+sentinel://:secret@first,,third/tickets",
        "redis+sentinel://:secret@first/tickets/zero",
        "redis+sentinel://:secret@first/tickets?socket_timeout=5",
        "redis+sentinel://:secret@first/tickets?sentinel_password",
        "redis://:secret/x@first:6379",
        "redis://:secret#x@first:6379",
        "rediss://ada:secret?x@first:6379/0",
        "redis+cluster://:secret@first:6379",
        "sentinel://:secret@first:26379",
        "amqp://:secret@first:5672",
        "secret",
    ],
)
def test_an_unsupported_url_is_an_error_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is not|Cluster") as error:
        check_redis_url(url)
    assert "secret" not in str(error.value)
