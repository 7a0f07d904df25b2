"""organism:hiring: decides about applicants, with a known bias, a known proxy and known secrets."""
