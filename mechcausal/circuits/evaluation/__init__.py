"""Judge a circuit on pairs that it was not found on: faithful, complete, minimal, and better than random ones."""
