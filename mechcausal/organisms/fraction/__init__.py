"""organism:fraction: compiled, not trained, so that each variable of its task is at one place."""
