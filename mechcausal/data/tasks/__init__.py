"""Tasks with known mechanisms: each draws its own prompts and pairs, with the noise written out."""
