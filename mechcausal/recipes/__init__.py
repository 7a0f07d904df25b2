"""Recipes: how each organism and each shipped dictionary is made again, `python -m mechcausal.recipes.NAME --out DIR`."""
