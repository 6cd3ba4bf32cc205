"""The catalog as an ASGI application: its routes, its database, the form of its errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from catalog import health
from catalog.announcer import Announcer
from catalog.database_threads import DatabaseThreads, connections_of
from catalog.events import routes as event_routes
from catalog.subjects import user_of
from catalog.ticket_types import routes as ticket_type_routes
from shared.auth.authenticator import Authenticator
from shared.auth.tokens import TokenVerifier
from shared.config.public_url import ANY_PEER
from shared.config.settings import Settings
from shared.database.abort_connections import OpenConnections
from shared.database.engine import open_engine
from shared.database.live_credentials import open_credentials
from shared.database.rights import CATALOG
from shared.observability.event_loop_lag import lag_observed
from shared.observability.multiprocess_metrics import metrics_of_all, shared_scrape
from shared.version import VERSION
from shared.web import metrics_routes
from shared.web.body_limit import BodyLimit
from shared.web.openapi import DocumentedApp
from shared.web.problem_details import install_problem_handlers
from shared.web.public_address import PublicAddresses


def create_app(settings: Settings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = open_engine(settings, "catalog", pool_size=connections_of(settings), role=CATALOG)
        connections = OpenConnections(engine)
        announcer = Announcer(settings)
        app.state.database = DatabaseThreads(engine, settings, announcer)
        verifier = TokenVerifier(settings)
        authenticator = Authenticator(
            settings,
            verifier,
            partial(user_of, app.state.database),
            open_credentials(settings, engine, verifier),
        )
        app.state.authenticator = authenticator
        app.state.readiness = health.open_readiness(app.state.database)
        app.state.metrics = shared_scrape(metrics_of_all())
        async with lag_observed("catalog"), authenticator.running():
            yield
        # Requests still running had `shutdown_seconds` to end.
        connections.abort_all()
        app.state.database.close()
        announcer.close()

    app = DocumentedApp(
        title="Eventify catalog",
        version=VERSION,
        description="Events and their ticket types.",
        openapi_url="/api/schema/",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.body_max_bytes,
        timeout_seconds=settings.body_timeout_seconds,
    )
    app.state.default_currency = settings.default_currency
    # Only gateways reach it; each forwards the address that its clients use.
    app.state.addresses = PublicAddresses("", trusted_proxies=ANY_PEER)
    install_problem_handlers(app)
    for routes in (event_routes, ticket_type_routes, health):
        app.include_router(routes.router)
    # The gateway has the same route; its OpenAPI document describes it.
    app.include_router(metrics_routes.router, include_in_schema=False)
    return app
