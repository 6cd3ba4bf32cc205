"""Removes the environment variables of libpq and Celery, which would override our settings.

libpq uses them for every option that a connection leaves open; Celery's override what a program
sets (`CELERY_BROKER_URL`). Some are read when Celery is imported, so `shared/__init__.py` removes
them before any other import.
"""

import os

# libpq 18, "Environment Variables"; a test compares this with the library itself.
# fmt: off
LIBPQ_VARIABLES = frozenset(
    {
        "PGAPPNAME", "PGCHANNELBINDING", "PGCLIENTENCODING", "PGCONNECT_TIMEOUT", "PGDATABASE",
        "PGDATESTYLE", "PGGEQO", "PGGSSDELEGATION", "PGGSSENCMODE", "PGGSSLIB", "PGHOST",
        "PGHOSTADDR", "PGKRBSRVNAME", "PGLOADBALANCEHOSTS", "PGLOCALEDIR", "PGMAXPROTOCOLVERSION",
        "PGMINPROTOCOLVERSION", "PGOAUTHDEBUG", "PGOPTIONS", "PGPASSFILE", "PGPASSWORD", "PGPORT",
        "PGREQUIREAUTH", "PGREQUIREPEER", "PGREQUIRESSL", "PGSERVICE", "PGSERVICEFILE", "PGSSLCERT",
        "PGSSLCERTMODE", "PGSSLCOMPRESSION", "PGSSLCRL", "PGSSLCRLDIR", "PGSSLKEY",
        "PGSSLKEYLOGFILE", "PGSSLMAXPROTOCOLVERSION", "PGSSLMINPROTOCOLVERSION", "PGSSLMODE",
        "PGSSLNEGOTIATION", "PGSSLROOTCERT", "PGSSLSNI", "PGSYSCONFDIR", "PGTARGETSESSIONATTRS",
        "PGTZ", "PGUSER",
    }
)
# Celery 5.7, kombu and billiard. `BROKER_URL` and others without a prefix are options of Celery's
# command line, which we do not use.
CELERY_PREFIXES = ("CELERY", "KOMBU_")
CELERY_VARIABLES = frozenset(
    {
        "C_BENCH", "C_BENCH_EVERY", "C_FAKEFORK", "C_FORCE_ROOT", "C_IMPDEBUG", "C_REMDEBUG",
        "C_STRICT_APP", "C_WARN_APP", "C_WNOCONF", "AUTOSCALE_KEEPALIVE", "DISABLE_TRACEBACKS",
        "EVENTLET_NOBLOCK", "FORKED_BY_MULTIPROCESSING", "MP_LOG", "MP_MAIN_FILE",
        "PICKLE_PROTOCOL", "REMAP_SIGTERM", "TIMER_DEBUG", "USE_FAST_LOCALS",
    }
)
# fmt: on

_removed: set[str] = set()


def remove_foreign_variables() -> None:
    """Remove them from the environment of this process and of its child processes."""
    for name in [name for name in os.environ if _is_foreign(name)]:
        _removed.add(name)
        del os.environ[name]


def removed_variables() -> list[str]:
    return sorted(_removed)


def _is_foreign(name: str) -> bool:
    if name == "PGTZ" and os.environ[name] == "UTC":
        return False  # set by `session_settings` for a pooler
    return name in LIBPQ_VARIABLES | CELERY_VARIABLES or name.startswith(CELERY_PREFIXES)
