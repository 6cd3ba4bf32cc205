"""Access tokens without a login, for tests and load tests; they need the signing key."""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from shared.auth.keys import load_signing_key
from shared.auth.tokens import mint
from shared.auth.usernames import stored_form, username_problem
from shared.config.settings import Settings
from shared.errors import ConfigurationError

# Two statements: the second also sees users that a concurrent call has made. Both need only the
# gateway's rights.
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
        ConfigurationError: not a valid username, or the count is out of range.
    """
    if count is not None and not 1 <= count <= MOST_TOKENS:
        raise ConfigurationError(f"--count {count} is not between 1 and {MOST_TOKENS}.")
    name = stored_form(name)
    names = [name] if count is None else [f"{name}{number}" for number in range(1, count + 1)]
    problem = username_problem(names[-1])
    if problem is not None:
        raise ConfigurationError(f"Not a valid username. {problem}")
    return names


def mint_tokens(connection: Connection, settings: Settings, names: list[str]) -> Iterator[str]:
    """Create missing users, and mint one access token for each name, in order.

    Raises:
        ConfigurationError: there is no signing key.
    """
    key = load_signing_key(settings.keys_dir)
    connection.execute(MAKE_USERS, {"names": names})
    user_ids = connection.scalars(FIND_USERS, {"names": names}).all()
    return (mint(settings, key, user_id, "access") for user_id in user_ids)
