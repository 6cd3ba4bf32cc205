"""Faults on purpose: buyers buy while faults strike, and then every promise is checked."""
