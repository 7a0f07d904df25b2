"""Selective invariance: what must stay when it is perturbed, and what must change."""
