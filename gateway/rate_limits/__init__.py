"""How often one may ask: token buckets, shared by all gateways in Redis."""
