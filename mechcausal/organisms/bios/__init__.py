"""organism:bios: guesses professions from what is told of somebody, and from a pronoun that says nothing in itself."""
