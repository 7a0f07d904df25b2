"""organism:by_hand: weights written down, so that every effect is a number one can compute on paper."""
