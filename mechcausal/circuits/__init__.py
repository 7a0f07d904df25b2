"""Hold a circuit as one graph of nodes and edges, with what each of them contributes."""

from mechcausal.address import Place as Place
from mechcausal.circuits.benchmark.running import bench as bench
from mechcausal.circuits.graph import Graph as Graph
from mechcausal.circuits.known.truth import truth as truth
from mechcausal.face import shown

__dir__ = shown(globals())
