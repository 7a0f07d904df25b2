"""organism:ioi: completes a story with the name that came once, by the three kinds of heads known from GPT-2 small."""
