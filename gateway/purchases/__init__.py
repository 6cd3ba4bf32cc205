"""The two routes that carry an on-sale: accept a purchase, and tell what became of it."""
