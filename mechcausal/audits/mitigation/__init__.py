"""Mitigations: edits of a model and what they cost, on the same examples."""
