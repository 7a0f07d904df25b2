"""organism:hiring_shared: two variables share one subspace of the residual stream."""
