"""Steer: add a vector, and measure what its dose does and what it costs."""

from mechcausal.steering.steered import Steered as Steered
from mechcausal.steering.steering import Steering as Steering
from mechcausal.steering.steering import steer as steer
