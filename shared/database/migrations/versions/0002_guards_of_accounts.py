# ruff: noqa: E501 - the statements stand as the database would print them
"""More rules that the database itself holds: those of accounts and tokens.

It may run while sales run: what it locks is held for as long as this one transaction takes, which
reads no table. Constraints are added NOT VALID, so they hold for every row that is written from
now on; the rows that were there are looked through in 0004, under locks that nobody waits for.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"

USERS = r"""
ALTER TABLE users
    ADD CONSTRAINT users_id_positive CHECK (id >= 1) NOT VALID,
    ADD CONSTRAINT users_username_form CHECK (username COLLATE "C" ~ '^[\w.@+\-\u0080-\U0010ffff]+$') NOT VALID,
    ADD CONSTRAINT users_username_one_spelling CHECK (username IS NFKC NORMALIZED) NOT VALID,
    ADD CONSTRAINT users_email_form CHECK (length(email) <= 254 AND email COLLATE "C" ~ '^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$') NOT VALID,
    ADD CONSTRAINT users_password_hashed CHECK (password_hash LIKE '$argon2id$%') NOT VALID;
"""

TOKENS = """
ALTER TABLE refresh_tokens
    ADD CONSTRAINT refresh_tokens_expires_after_issue CHECK (expires_at > issued_at) NOT VALID,
    ADD CONSTRAINT refresh_tokens_spent_for_successor CHECK ((spent_at IS NULL) = (successor IS NULL)) NOT VALID,
    ADD CONSTRAINT refresh_tokens_family_fkey FOREIGN KEY (family) REFERENCES refresh_tokens (id) NOT VALID;
"""

TOKEN_GUARDS = """
CREATE TRIGGER refresh_tokens_terms_frozen BEFORE UPDATE ON refresh_tokens
    FOR EACH ROW WHEN (
        (OLD.id, OLD.family, OLD.user_id, OLD.issued_at, OLD.expires_at)
        <> (NEW.id, NEW.family, NEW.user_id, NEW.issued_at, NEW.expires_at))
    EXECUTE FUNCTION eventify_refuse(
        'refresh_tokens_terms_frozen', 'what a token was given out as never changes');
CREATE TRIGGER refresh_tokens_spent_once BEFORE UPDATE ON refresh_tokens
    FOR EACH ROW WHEN (
        (OLD.spent_at, OLD.successor) IS DISTINCT FROM (NEW.spent_at, NEW.successor)
        AND (OLD.spent_at IS NOT NULL OR OLD.revoked_at IS NOT NULL))
    EXECUTE FUNCTION eventify_refuse(
        'refresh_tokens_spent_once', 'a token is spent once, and never after it was revoked');
CREATE TRIGGER refresh_tokens_revoked_for_ever BEFORE UPDATE ON refresh_tokens
    FOR EACH ROW WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at AND OLD.revoked_at IS NOT NULL)
    EXECUTE FUNCTION eventify_refuse(
        'refresh_tokens_revoked_for_ever', 'a token once revoked stays so');
"""


def upgrade() -> None:
    # The tokens first, as whoever signs in comes to them: neither waits for what the other holds.
    for statements in (TOKENS, TOKEN_GUARDS, USERS):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("a guard is taken away by hand, and with care")
