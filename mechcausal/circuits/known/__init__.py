"""Circuits that are known: which edges and nodes are true in an organism, and how well scores tell them from the others."""
