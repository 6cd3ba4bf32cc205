"""Gateways as processes of their own, and an application in place of the catalog."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from shared.auth.keys import load_signing_key
from shared.auth.tokens import mint
from shared.config.settings import Settings
from shared.free_port import free_port
from tests.support.services import running_service
from tests.support.waiting import eventually


@contextmanager
def running_gateway(
    settings: Settings, *, user_id: int | None = None, ready: str = "/readyz", **changes: Any
) -> Iterator[httpx.Client]:
    """A gateway with these settings at a free port, and a client with a token of that user."""
    settings = settings.model_copy(update={"gateway_port": free_port(), **changes})
    url = f"http://127.0.0.1:{settings.gateway_port}"
    headers = {} if user_id is None else authorization(settings, user_id)
    with (
        running_service("gateway", settings, url + ready),
        httpx.Client(base_url=url, timeout=30, headers=headers, verify=False) as client,
    ):
        yield client


@contextmanager
def client_of(gateway_url: str, settings: Settings, user_id: int) -> Iterator[httpx.Client]:
    """A client with a token of that user."""
    headers = authorization(settings, user_id)
    with httpx.Client(base_url=gateway_url, headers=headers, timeout=30, verify=False) as client:
        yield client


def authorization(settings: Settings, user_id: int) -> dict[str, str]:
    token = mint(settings, load_signing_key(settings.keys_dir), user_id, "access")
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def running_app(app: ASGIApp, url: str) -> Iterator[None]:
    """An ASGI application that answers at `url`."""
    port = httpx.URL(url).port
    assert port is not None
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, lifespan="off", ws="none", log_config=None)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: httpx.get(url), retry_on=httpx.TransportError)
        yield
    finally:
        server.should_exit = True
        thread.join()
