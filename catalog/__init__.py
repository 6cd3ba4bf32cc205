"""Owns events and ticket types."""
