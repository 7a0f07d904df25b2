"""Cards of features: what one feature is and does, on one page."""
