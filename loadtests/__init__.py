"""Rehearses a rush: buyers that behave as in an on-sale, and what they measure."""
