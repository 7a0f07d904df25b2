"""Hold a circuit as one graph of nodes and edges, with what each of them contributes."""

from mechcausal.address import Place as Place
from mechcausal.circuits.benchmark.protocol import bench_model as bench_model
from mechcausal.circuits.benchmark.running import bench as bench
from mechcausal.circuits.circuit import Circuit as Circuit
from mechcausal.circuits.discover import Discovering as Discovering
from mechcausal.circuits.discover import discover as discover
from mechcausal.circuits.formats.reading import read as read
from mechcausal.circuits.formats.reading import write as write
from mechcausal.circuits.graph import Graph as Graph
from mechcausal.circuits.known.truth import truth as truth
from mechcausal.face import shown

__dir__ = shown(globals())
