"""A client of Eventify: README.md has examples."""

from eventify_client import errors, models
from eventify_client.client import AsyncClient, Client
from eventify_client.errors import APIError, DeadlineExceeded, EventifyError, KeyMismatch
from eventify_client.keys import Key, KeyFile
from eventify_client.models import Delivery
from eventify_client.webhooks import verify_webhook

__all__ = ["APIError", "AsyncClient", "Client", "DeadlineExceeded", "Delivery", "EventifyError"]
__all__ += ["Key", "KeyFile", "KeyMismatch", "errors", "models", "verify_webhook"]
