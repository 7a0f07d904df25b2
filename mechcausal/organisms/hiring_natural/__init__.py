"""organism:hiring_natural: the twin of hiring that was taught what to do and not how."""
