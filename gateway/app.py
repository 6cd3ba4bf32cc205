"""The wiring of the gateway: its parts, and the order in which they open and close."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Lifespan

from gateway import api_docs, error_page, health, openapi
from gateway.accounts import routes as account_routes
from gateway.accounts.expiry import periodic_deletion
from gateway.accounts.service import Accounts, token_rate
from gateway.accounts.subjects import SubjectUsers
from gateway.api_cors import ApiCors
from gateway.api_keys import routes as key_routes
from gateway.audits import routes as audit_routes
from gateway.catalog_proxy import PREFIXES, CatalogProxy
from gateway.feed import routes as feed_routes
from gateway.feed.service import THREADS as FEED_THREADS
from gateway.feed.service import Feed
from gateway.health import ProbeRoutes, Readiness
from gateway.live import routes as live_routes
from gateway.live.service import THREADS as LIVE_THREADS
from gateway.live.service import Live
from gateway.openapi import DESCRIPTION, TAGS, WholeSchema
from gateway.other_methods import OtherMethods
from gateway.pages.routes import PageRoutes
from gateway.purchases import list_routes
from gateway.purchases.list_routes import PurchaseLists
from gateway.purchases.routes import PurchaseRoutes
from gateway.purchases.service import PurchaseService
from gateway.purchases.traces import PurchaseTraces
from gateway.rate_limits.by_name import NamedLimit
from gateway.rate_limits.by_user import UserLimit
from gateway.rate_limits.of_catalog import CatalogLimits
from gateway.rate_limits.of_resolutions import ResolutionLimits
from gateway.rate_limits.token_bucket import Rate
from gateway.resolutions.routes import ResolutionRoutes
from gateway.resolutions.service import THREADS, Resolutions
from gateway.response_headers import ResponseHeaders
from gateway.rows.reader import RowReader
from gateway.rows.routes import RowRoutes
from gateway.sales.reader import SaleReader
from gateway.sales.routes import SaleRoutes
from gateway.session import routes as session_routes
from gateway.shutdown import Draining
from gateway.unread_responses import UnreadResponses
from gateway.user_transactions import UserTransactions
from gateway.webhooks import routes as webhook_routes
from gateway.webhooks.service import OwnWebhooks
from shared.auth.authenticator import Authenticator
from shared.auth.keys import ensure_signing_key
from shared.auth.tokens import TokenVerifier
from shared.config.public_url import parse_origins
from shared.config.settings import Settings
from shared.database.abort_connections import OpenConnections
from shared.database.engine import open_engine
from shared.database.live_credentials import open_credentials
from shared.database.rights import GATEWAY
from shared.observability.event_loop_lag import lag_observed
from shared.observability.multiprocess_metrics import metrics_of_all, shared_scrape
from shared.observability.tracing import open_tracing
from shared.version import VERSION
from shared.web import metrics_routes
from shared.web.body_limit import BodyLimit
from shared.web.edge import Edge
from shared.web.openapi import DocumentedApp
from shared.web.problem_details import install_problem_handlers
from shared.web.public_address import PublicAddresses


def create_app(settings: Settings) -> ASGIApp:  # noqa: PLR0915 - it wires all parts
    """The gateway as an ASGI application; it opens its connections when it starts.

    Raises:
        ConfigurationError: there is no signing key, and none can be made.
    """
    ensure_signing_key(settings.keys_dir)
    engine = open_engine(
        settings, "gateway", pool_size=_connections(settings), prepares=True, role=GATEWAY
    )
    connections = OpenConnections(engine)
    verifier = TokenVerifier(settings)
    subjects = SubjectUsers(settings, engine)
    authenticator = Authenticator(
        settings, verifier, subjects.find, open_credentials(settings, engine, verifier)
    )
    draining = Draining()
    catalog_limits = CatalogLimits(settings)
    addresses = PublicAddresses(settings.public_url, settings.trusted_proxies)
    catalog_proxy = CatalogProxy(settings, authenticator, catalog_limits, addresses)
    rows = RowReader(settings, engine)
    spans = open_tracing("gateway")
    traces = PurchaseTraces(spans) if spans is not None else None
    live = Live(settings, engine)
    purchases = PurchaseService(settings, engine, traces)
    resolutions = Resolutions(settings, engine, purchases.waiters, purchases.wakeups, traces)
    resolution_limits = ResolutionLimits(settings)
    readiness = Readiness(engine, draining)
    sales = SaleReader(settings, engine)
    sign_ins = Rate(settings.sign_in_rate_burst, settings.sign_in_rate_per_second)
    sign_in_limit = NamedLimit("sign-in", sign_ins, settings)
    token_limit = NamedLimit("tokens", token_rate(sign_ins), settings)
    deletion = periodic_deletion(settings, engine)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        draining.watch(purchases.stop_accepting, live.stop)
        await catalog_proxy.open()
        purchases.start()
        deletion.start()
        live.start()
        app.state.addresses = addresses
        app.state.verifier = verifier
        app.state.authenticator = authenticator
        app.state.accounts = Accounts(settings, engine, verifier)
        app.state.sign_in_limit = sign_in_limit
        app.state.token_limit = token_limit
        app.state.metrics = shared_scrape(metrics_of_all())
        app.state.schema = WholeSchema(catalog_proxy, settings.schema_cache_seconds)
        app.state.purchase_lists = PurchaseLists(settings, engine, purchases.look_up)
        app.state.list_limit = catalog_limits.lists
        app.state.audit_limit = UserLimit(settings, "audits", audit_routes.RATE)
        app.state.settings = settings
        async with (
            lag_observed("gateway"),
            aclosing(subjects),
            aclosing(UserTransactions("own-keys", settings, engine)) as app.state.own_keys,
            aclosing(Feed(settings, engine, purchases.waiters)) as app.state.feed,
            aclosing(OwnWebhooks(settings, engine)) as app.state.own_webhooks,
            aclosing(live) as app.state.live,
            aclosing(UserTransactions("audits", settings, engine)) as app.state.audits,
            authenticator.running(),
        ):
            yield
        await resolutions.stop()
        await resolution_limits.close()
        await purchases.stop()
        await deletion.stop()
        await sales.aclose()
        await rows.close()
        # Every request has its response: abort the statements that still wait for the database.
        connections.abort_all()
        app.state.purchase_lists.close()
        readiness.close()
        app.state.accounts.close()
        sign_in_limit.close()
        token_limit.close()
        await catalog_proxy.close()
        await catalog_limits.close()
        await app.state.audit_limit.close()
        if traces is not None:
            await asyncio.to_thread(traces.close)

    fallback_app = ResponseHeaders(_fastapi_app(settings, catalog_proxy, lifespan), addresses)
    unread = UnreadResponses(settings.unread_answers_max_bytes, settings.send_timeout_seconds)
    routes: ASGIApp = PageRoutes(addresses, fallback_app)
    routes = RowRoutes(rows, catalog_proxy, authenticator, routes)
    routes = SaleRoutes(sales, unread, addresses, routes)
    routes = ProbeRoutes(readiness, routes)
    routes = PurchaseRoutes(
        settings,
        purchases,
        authenticator,
        addresses,
        routes,
        traces,
        count_refusal=live.refusals.count,
    )
    routes = ResolutionRoutes(
        settings, resolutions, resolution_limits, authenticator, addresses, routes, traces
    )
    edge = Edge(routes, "gateway", addresses, access_log=settings.access_log)
    origins = parse_origins(settings.cors_origins)
    return ApiCors(edge, origins) if origins else edge


def _connections(settings: Settings) -> int:
    """One for every thread that uses the database, so that no work starves another."""
    threads = settings.accept_writers + settings.status_readers + settings.list_threads
    threads += 2 * settings.account_threads  # of sign-ins, and of tokens
    threads += THREADS + FEED_THREADS + LIVE_THREADS  # of resolutions, the feed, live figures
    # And readiness, the backlog, waiters (two), expired tokens, credentials, a user's own keys,
    # webhooks, sales, versions of rows, and audits.
    threads += 11
    return threads + 1 if settings.trusted_issuers else threads


def documented_app(lifespan: Lifespan[FastAPI] | None = None) -> DocumentedApp:
    """The routes that FastAPI describes."""
    app = DocumentedApp(
        title="Eventify API",
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        # Ours are at /api/schema/ and /api/docs/.
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    for routes in (
        health,
        account_routes,
        key_routes,
        webhook_routes,
        list_routes,
        feed_routes,
        live_routes,
        audit_routes,
        metrics_routes,
        openapi,
        api_docs,
        error_page,
    ):
        app.include_router(routes.router)
    app.include_router(account_routes.signed_in_router)
    return app


def _fastapi_app(
    settings: Settings, catalog_proxy: CatalogProxy, lifespan: Lifespan[FastAPI]
) -> FastAPI:
    """Every route but the lean ones."""
    app = documented_app(lifespan)
    install_problem_handlers(app)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.body_max_bytes,
        timeout_seconds=settings.body_timeout_seconds,
    )
    app.include_router(session_routes.router)
    app.include_router(session_routes.cookie_router)
    reads = (
        *(feed_routes.PATH, feed_routes.NDJSON_PATH, feed_routes.CSV_PATH),
        *(live_routes.PATH, live_routes.STREAM_PATH, live_routes.HISTORY_PATH),
        audit_routes.ONE_PATH,
    )
    for path in reads:
        app.router.routes.append(Route(path, OtherMethods(path)))
    several = OtherMethods(audit_routes.PATH, "GET, HEAD, POST")
    app.router.routes.append(Route(audit_routes.PATH, several))
    for prefix in PREFIXES:
        app.router.routes.append(Route(prefix + "{rest:path}", catalog_proxy))
    app.router.routes.append(Route(api_docs.SCRIPT_URL, api_docs.script))
    app.mount(api_docs.ASSETS_URL, api_docs.Assets())
    return app
