"""organism:fraction_linear: organism:fraction with logits that read the share in a straight line."""
