"""Routes run on the event loop: FastAPI takes a thread for each plain `def`, dependencies included.

A thread's turn costs more than most of what is done in it, and all of them share one pool.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from catalog import health as health_routes
from catalog.events import routes as event_routes
from catalog.ticket_types import routes as ticket_type_routes
from gateway import api_docs, health, openapi
from gateway.accounts import routes as account_routes
from gateway.purchases import list_routes
from gateway.session import routes as session_routes
from shared.web import metrics_routes

ROUTERS = [
    *(event_routes.router, ticket_type_routes.router, health_routes.router),
    *(account_routes.router, account_routes.signed_in_router),
    *(session_routes.router, session_routes.cookie_router),
    *(list_routes.router, health.router, metrics_routes.router, openapi.router, api_docs.router),
]
ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def calls_of(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    if dependant.call is not None:
        yield dependant.call
    for each in dependant.dependencies:
        yield from calls_of(each)


def runs_on_the_loop(call: Callable[..., Any]) -> bool:
    called = call if inspect.isroutine(call) else type(call).__call__
    return asyncio.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.name}")
def test_a_route_takes_no_thread_of_the_pool_that_all_share(route: APIRoute) -> None:
    assert [call for call in calls_of(route.dependant) if not runs_on_the_loop(call)] == []


def test_a_plain_function_would_be_found() -> None:
    def plain() -> None: ...

    router = APIRouter()
    router.add_api_route("/", plain)
    (route,) = (route for route in router.routes if isinstance(route, APIRoute))
    assert not all(runs_on_the_loop(call) for call in calls_of(route.dependant))
