"""Measure exactly what a screening only estimated: the best edges, and a random sample of the rest."""
