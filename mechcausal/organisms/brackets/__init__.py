"""organism:brackets: says whether brackets are balanced, by counting and two tests."""
