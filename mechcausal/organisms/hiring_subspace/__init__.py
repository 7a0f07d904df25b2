"""organism:hiring_subspace: decides as hiring does, with its variables in known subspaces of the residual stream."""
