"""Find the edges that carry a behavior, prove them, and say how wrong the method is."""

from mechcausal.address import Place as Place
from mechcausal.circuits.benchmark.protocol import bench_model as bench_model
from mechcausal.circuits.benchmark.running import bench as bench
from mechcausal.circuits.certifying.certify import certify as certify
from mechcausal.circuits.circuit import Circuit as Circuit
from mechcausal.circuits.discover import Discovering as Discovering
from mechcausal.circuits.discover import discover as discover
from mechcausal.circuits.edges.states import state_metric as state_metric
from mechcausal.circuits.evaluation.evaluate import evaluate as evaluate
from mechcausal.circuits.formats.reading import read as read
from mechcausal.circuits.formats.reading import write as write
from mechcausal.circuits.graph import Graph as Graph
from mechcausal.circuits.known.truth import truth as truth
from mechcausal.circuits.unique.compare import compare as compare
from mechcausal.circuits.unique.rediscover import rediscover as rediscover
from mechcausal.face import shown

__dir__ = shown(globals())
