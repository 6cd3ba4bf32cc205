"""Audits of an event that its owner asks for; a sweeper runs them."""
