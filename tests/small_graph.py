"""A small graph of a circuit: two features, an error, a head and the logits."""

import math

from mechcausal.circuits import Graph

A, B, ERROR, HEAD, END = (
    "L0.resid_post.sae:one.F3", "L1.resid_post.sae:two.F17", "L0.resid_post.sae:one.error", "L1.z.H2@subject", "logits",
)  # fmt: skip


def small():
    """Return the graph."""
    nodes = {A: 0.5, B: -0.8, ERROR: 0.01, HEAD: 0.2, END: math.nan}
    edges = {(A, B): 0.4, (ERROR, B): -0.02, (A, HEAD): 0.1, (B, END): -0.8, (A, END): 0.05}
    return Graph.of(nodes, edges, {"metric": "logit_diff"})
