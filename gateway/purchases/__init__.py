"""The two routes that carry an on-sale: accept a purchase, and look it up."""
