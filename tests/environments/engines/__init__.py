"""Whole systems on the engines that an operator may choose: `make engines-test`."""
