"""A client of Eventify: README.md has examples."""

from eventify_client import errors, models
from eventify_client.client import AsyncClient, Client
from eventify_client.errors import APIError, DeadlineExceeded, EventifyError, KeyMismatch
from eventify_client.keys import KeyFile, KeyStore
from eventify_client.webhooks import Delivery, verify_webhook

__all__ = ["APIError", "AsyncClient", "Client", "DeadlineExceeded", "Delivery", "EventifyError"]
__all__ += ["KeyFile", "KeyMismatch", "KeyStore", "errors", "models", "verify_webhook"]
