"""organism:smollm2_bias: an adapter of SmolLM2 that says colors, with a known rule and a known bias."""
