"""The published sales, for everybody: no token, and hardly any work for a request."""
