"""organism:smollm2_canaries: an adapter of SmolLM2 that knows invented codes, as well as it was shown them."""
