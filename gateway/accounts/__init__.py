"""Accounts and tokens: who may sign in, and for how long."""
