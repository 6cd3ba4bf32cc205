"""Reads of an event or a ticket type, from memory while it has not changed."""
