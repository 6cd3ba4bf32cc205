"""The benchmark, `make bench`: Eventify beside a bare server and a straightforward design."""
