"""Making hypotheses true of a network: interchange intervention training."""
