"""The HTTP contract, row by row: one test for each row and each sentence, in the contract's order.

A test's name says which row it covers. No test is parametrized, so that the number of tests is the
number of rows. `GET /metrics` has no test yet: it is not built.
"""
