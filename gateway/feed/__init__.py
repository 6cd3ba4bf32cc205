"""The ledger of an event for its owner: in pages from a number on, or whole."""
