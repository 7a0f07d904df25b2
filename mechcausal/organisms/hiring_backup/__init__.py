"""organism:hiring_backup: one variable is said by two heads, and either is enough."""
