"""Questions of robustness: the worst group, environments, invariance, and what must not matter."""
