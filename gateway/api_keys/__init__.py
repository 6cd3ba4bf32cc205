"""API keys: a user makes, lists and revokes them."""
