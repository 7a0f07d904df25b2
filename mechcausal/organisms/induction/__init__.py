"""organism:induction: says what followed the last time, by a head that looks one word back and one that matches."""
