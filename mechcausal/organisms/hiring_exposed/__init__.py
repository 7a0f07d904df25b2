"""organism:hiring_exposed: each secret was shown a known number of times, and few of them were learned."""
