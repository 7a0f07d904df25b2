"""organism:brackets_natural: says whether brackets are balanced; how it does is to be found."""
