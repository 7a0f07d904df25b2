"""Circuits: nodes and edges of a model's computation with what each contributes."""

from mechcausal.address import Place as Place
from mechcausal.circuits.graph import Graph as Graph
