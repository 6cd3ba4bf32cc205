"""Pages of rows with a number as their id, newest first."""

from typing import Any

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute

from shared.web.cursors import Id
from shared.web.pagination import CursorWanted, PageWanted


def newest_first(
    connection: Connection,
    rows: Select[*tuple[Any, ...]],
    id_: InstrumentedAttribute[int],
    wanted: PageWanted | CursorWanted,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A page's links, and its rows by name of column.

    Raises:
        NotFound: the page is beyond the end.
        InvalidInput: the cursor is none of this list.
    """
    found = rows.order_by(id_.desc())
    if isinstance(wanted, PageWanted):
        count = connection.scalar(select(func.count()).select_from(rows.subquery())) or 0
        found = found.limit(wanted.size).offset(wanted.offset(count))
        return wanted.links(count), [dict(row) for row in connection.execute(found).mappings()]
    if (after := wanted.after(Id)) is not None:
        found = found.where(id_ < after[0])
    found = found.add_columns(id_.label("key")).limit(wanted.size + 1)
    page = [dict(row) for row in connection.execute(found).mappings()]
    keys = [row.pop("key") for row in page]
    more = len(page) > wanted.size
    return wanted.links((keys[wanted.size - 1],) if more else None), page[: wanted.size]
