"""Access tokens without a login, for tests and load tests: whoever has the key may mint them."""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from shared.auth.keys import load_signing_key
from shared.auth.tokens import mint
from shared.auth.usernames import stored_form, username_problem
from shared.config.settings import Settings
from shared.errors import ConfigurationError

# Two statements: the second also sees a user whom another made meanwhile. Neither needs more than
# a gateway may do.
MAKE_USERS = text("""
INSERT INTO users (username) SELECT unnest(CAST(:names AS text[]))
ON CONFLICT (lower(username)) DO NOTHING
""")
FIND_USERS = text("""
SELECT id FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS wanted (name, number)
JOIN users ON lower(username) = lower(name) ORDER BY number
""")
# A million takes ten minutes: 0.6 ms for each signature.
MOST_TOKENS = 1_000_000


def user_names(name: str, count: int | None) -> list[str]:
    """The name itself, or with a count the names `NAME1` to `NAMEn`.

    Raises:
        ConfigurationError: a name is not one that a user may have, or the count is out of range.
    """
    if count is not None and not 1 <= count <= MOST_TOKENS:
        raise ConfigurationError(f"--count {count} is not between 1 and {MOST_TOKENS}.")
    name = stored_form(name)
    names = [name] if count is None else [f"{name}{number}" for number in range(1, count + 1)]
    problem = username_problem(names[-1])
    if problem is not None:
        raise ConfigurationError(f"This is no name for a user. {problem}")
    return names


def mint_tokens(connection: Connection, settings: Settings, names: list[str]) -> Iterator[str]:
    """Make the users who are missing, and give one access token for each name, in order.

    Raises:
        ConfigurationError: there is no signing key.
    """
    key = load_signing_key(settings.keys_dir)
    connection.execute(MAKE_USERS, {"names": names})
    user_ids = connection.scalars(FIND_USERS, {"names": names}).all()
    return (mint(settings, key, user_id, "access") for user_id in user_ids)
