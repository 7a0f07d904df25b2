"""Which part of the network carries which variable: interchange interventions, and searches judged by them."""
