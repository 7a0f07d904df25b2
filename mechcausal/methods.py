"""Methods as data."""
