"""What PostgreSQL says of itself: connections, tables, dead rows, WAL, vacuums."""

from contextlib import suppress

from sqlalchemy import Connection, Engine, text

from loadtests.soak.sampling.processes import private_mib

APPLICATION = "eventify-soak"
# It reads free space and dead rows without reading all pages.
EXTENSION = "CREATE EXTENSION IF NOT EXISTS pgstattuple"
SESSIONS = text("""
SELECT pid, application_name AS name, coalesce(state, 'starting') AS state,
       coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8 AS transaction
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()
""")
SERVER = text("""
SELECT (pg_current_wal_lsn() - '0/0')::float8 / 1048576 AS wal_mib,
       (SELECT coalesce(sum(size), 0)::float8 / 1048576 FROM pg_ls_waldir()) AS wal_files_mib,
       (SELECT (num_timed + num_requested)::float8 FROM pg_stat_checkpointer) AS checkpoints,
       (SELECT coalesce(sum(number), 0)::float8 FROM lanes) AS entries,
       (SELECT count(*)::float8 FROM work_list) AS queued,
       (SELECT temp_bytes::float8 / 1048576 FROM pg_stat_database
        WHERE datname = current_database()) AS temporary_mib,
       (SELECT deadlocks::float8 FROM pg_stat_database
        WHERE datname = current_database()) AS deadlocks
""")
# A table with what it keeps apart (TOAST) and its maps; each index under its table's name.
RELATIONS = text("""
SELECT t.relname AS of_table, t.relname AS name, pg_table_size(t.oid)::float8 / 1048576 AS mib
FROM pg_class t WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace
UNION ALL
SELECT t.relname, t.relname || '/' || i.relname, pg_relation_size(i.oid)::float8 / 1048576
FROM pg_class t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace
""")
ROWS = text("""
SELECT relname AS name, n_live_tup::float8 AS live, n_dead_tup::float8 AS dead,
       autovacuum_count::float8 AS vacuums
FROM pg_stat_user_tables WHERE schemaname = 'public'
""")
WASTED = text("""
SELECT c.relname AS name, (s.approx_free_space + s.dead_tuple_len)::float8 / 1048576 AS mib
FROM pg_class c, LATERAL pgstattuple_approx(c.oid) s
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
""")


def prepare(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(EXTENSION)


def postgres_figures(connection: Connection, with_wasted: bool) -> dict[str, float]:
    """Raises sqlalchemy.exc.SQLAlchemyError where the database does not answer.

    Args:
        with_wasted: also the space that no live row takes, which reads pages of each table.
    """
    figures = _of_sessions(connection)
    server = connection.execute(SERVER).one()._mapping
    figures |= {name: value for name, value in server.items() if value is not None}
    for row in connection.execute(RELATIONS):
        figures[f"relation_mib:{row.name}"] = row.mib
    for row in connection.execute(ROWS):
        figures[f"rows:{row.name}"] = row.live
        figures[f"dead_rows:{row.name}"] = row.dead
        figures[f"vacuums:{row.name}"] = row.vacuums
    if with_wasted:
        figures |= {f"wasted_mib:{row.name}": row.mib for row in connection.execute(WASTED)}
    return figures


def _of_sessions(connection: Connection) -> dict[str, float]:
    """By the service that has them: their number and memory; by state: their number.

    And the age of the oldest transaction.
    """
    figures = {"connections": 0.0, "oldest_transaction_seconds": 0.0}
    for row in connection.execute(SESSIONS):
        if row.name == APPLICATION:
            continue
        figures["connections"] += 1
        for name in (
            f"connections_of:{row.name or 'unnamed'}",
            f"connections_in_state:{row.state}",
        ):
            figures[name] = figures.get(name, 0.0) + 1
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            memory = f"session_mib:{row.name or 'unnamed'}"
            figures[memory] = figures.get(memory, 0.0) + private_mib(row.pid)
        oldest = max(figures["oldest_transaction_seconds"], row.transaction)
        figures["oldest_transaction_seconds"] = oldest
    return figures
