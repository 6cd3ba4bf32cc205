"""The users of trusted issuers' subjects; a new subject becomes a user."""

from functools import partial

from sqlalchemy import Engine

from gateway.accounts import store
from gateway.batcher import Batcher
from shared.auth.issuer_tokens import Subject
from shared.config.settings import Settings

# When a sale opens, thousands come with their first token: one statement for many of them.
SUBJECTS_AT_ONCE = 200
PENDING_MAX = 10_000


class SubjectUsers:
    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._finding: Batcher[Subject, int] = Batcher(
            "subjects",
            partial(store.users_of_subjects, engine),
            batch_rows=SUBJECTS_AT_ONCE,
            threads=1,
            pending_max_rows=PENDING_MAX,
            stall_timeout_seconds=settings.answer_timeout_seconds,
            pending_max_seconds=settings.pending_max_seconds,
        )

    async def find(self, subject: Subject) -> int:
        """The id of its user.

        Raises:
            Unavailable: the database is unavailable, or too many wait.
        """
        return await self._finding.submit(subject)

    async def aclose(self) -> None:
        await self._finding.close()
