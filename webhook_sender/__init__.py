"""Sends the entries of ledgers to webhooks: in order, at least once."""
