"""Commands of `eventify` that have a file of their own."""
