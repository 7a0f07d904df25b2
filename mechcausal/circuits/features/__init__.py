"""Circuits of features: found by attribution, judged by what is kept."""
