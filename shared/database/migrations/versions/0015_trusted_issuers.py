"""Users of trusted issuers: an account is found by its issuer and subject.

It may run while sales run: the users are read once under its lock, which takes a million of them
less than a second. Code of the former version leaves both columns null.

Revision ID: 0015
"""

from alembic import op

revision = "0015"
down_revision = "0014"

COLUMNS = """
ALTER TABLE users
    ADD COLUMN issuer text,
    ADD COLUMN subject text,
    ADD CONSTRAINT users_subject_of_issuer CHECK ((issuer IS NULL) = (subject IS NULL)),
    ADD CONSTRAINT users_subject_length CHECK (length(issuer) BETWEEN 1 AND 255 AND length(subject) BETWEEN 1 AND 255)
"""  # noqa: E501 - as the database would print it
INDEX = """
CREATE UNIQUE INDEX users_subject_key ON users (issuer, subject) WHERE issuer IS NOT NULL
"""


def upgrade() -> None:
    for statements in (COLUMNS, INDEX):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("a user of an issuer would become one that nobody can use")
