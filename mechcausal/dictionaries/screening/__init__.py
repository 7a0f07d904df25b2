"""Screening: every feature by attribution, the likely ones exactly."""
