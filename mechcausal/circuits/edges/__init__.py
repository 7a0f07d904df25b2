"""Edges between the parts of a model: which there are, what runs with some of them cut, what their slopes are."""
