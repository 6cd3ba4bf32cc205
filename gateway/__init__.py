"""The only door: accounts and tokens, accepting purchases, telling outcomes."""
