"""Webhooks: a user makes, changes and tests them. `webhook_sender` sends."""
