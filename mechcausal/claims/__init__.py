"""Turn a circuit into a claim that can be scrubbed, and a hypothesis into a circuit that can be evaluated."""

from mechcausal.claims.circuits import circuit as circuit
from mechcausal.claims.trees import tree as tree
from mechcausal.face import shown

__dir__ = shown(globals())
