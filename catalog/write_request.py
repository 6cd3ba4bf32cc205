"""A request to change one row: checked, locked, checked again, changed."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy.orm import Session

from catalog.database_threads import DatabaseThreads
from catalog.rules import check_owner
from catalog.ticket_types.store import StoredTicketType
from shared.database.once import KeyedRequest, earlier, once, replayed
from shared.database.tables import Event
from shared.errors import Problem

Row = TypeVar("Row", Event, StoredTicketType)
Find = Callable[[Session, int], Row]
Step = Callable[[Session, Row], None]
# Returns the row as it is afterwards, if that is another one.
Apply = Callable[[Session, Row], Row | None]


@dataclass(frozen=True, slots=True)
class WriteRequest:
    database: DatabaseThreads
    user_id: int  # who may not own the row
    id: int
    if_match: str | None
    keyed: KeyedRequest | None = None

    async def change(
        self,
        locked: Callable[[Row], Hashable],
        *,
        find: Find[Row],
        lock: Find[Row],
        check: Step[Row],
        apply: Apply[Row],
    ) -> tuple[Row, bool]:
        """Check owner and state of what `find` reads, `lock` it, check it again, and change it.

        Returns the row as it is afterwards; and whether an earlier request with the same
        `Idempotency-Key` had changed it, which outranks every refusal.

        `locked`: names what `lock` locks; writes of the same take turns.

        A request that is not allowed or not possible never gets a lock, nor a turn at one. The
        check under the lock sees every sale and change before this one.

        Raises what the functions and `once` raise, and PermissionDenied.
        """
        keyed = self.keyed

        def checked(session: Session, find: Find[Row]) -> Row:
            found = find(session, self.id)
            check_owner(found.owner_id, self.user_id)
            check(session, found)
            return found

        def look(session: Session) -> Row:
            try:
                return checked(session, find)
            except Problem:
                # Perhaps because it was done.
                if keyed is None or (row_id := earlier(session, keyed)) is None:
                    raise
                return replayed(row_id, partial(find, session))

        def change(session: Session) -> Row:
            found = checked(session, lock)
            return apply(session, found) or found

        def change_once(session: Session) -> tuple[Row, bool]:
            do, look_again = partial(change, session), partial(find, session)
            return once(session, keyed, do, look_again, lambda _: self.id)

        found = await self.database.read(self.user_id, look)
        return await self.database.write(self.user_id, locked(found), change_once)
