"""A request to change one row: checked, locked, checked again, changed."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.orm import Session

from catalog.lanes import Lanes
from catalog.rules import check_owner
from catalog.ticket_types.store import StoredTicketType
from shared.database.tables import Event

Row = TypeVar("Row", Event, StoredTicketType)
Find = Callable[[Session, int], Row]
Step = Callable[[Session, Row], None]
# Returns the row as it is afterwards, if that is another one.
Apply = Callable[[Session, Row], Row | None]


@dataclass(frozen=True, slots=True)
class WriteRequest:
    database: Lanes
    user_id: int  # who may not own the row
    id: int
    if_match: str | None

    async def change(
        self,
        locked: Callable[[Row], Hashable],
        *,
        find: Find[Row],
        lock: Find[Row],
        check: Step[Row],
        apply: Apply[Row],
    ) -> Row:
        """Check owner and state of what `find` reads, `lock` it, check it again, and change it.

        `locked`: names what `lock` locks; writes of the same take turns.

        A request that is not allowed or not possible never gets a lock, nor a turn at one. The
        check under the lock sees every sale and change before this one.

        Raises what the functions raise, and PermissionDenied.
        """

        def checked(session: Session, find: Find[Row]) -> Row:
            found = find(session, self.id)
            check_owner(found.owner_id, self.user_id)
            check(session, found)
            return found

        def change(session: Session) -> Row:
            found = checked(session, lock)
            return apply(session, found) or found

        found = await self.database.read(lambda session: checked(session, find))
        return await self.database.write(locked(found), change)
