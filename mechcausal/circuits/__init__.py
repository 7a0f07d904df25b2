"""Circuits: nodes and edges of a model's computation with what each contributes."""

from mechcausal.circuits.graph import Graph as Graph
from mechcausal.circuits.graph import Node as Node
