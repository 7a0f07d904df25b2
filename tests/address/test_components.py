"""The facts about components, against a block computed by hand: what is written before what reads it."""

import math

from mechcausal.address.components import (
    COMPONENTS,
    INSIDE,
    LINEAR_WRITERS,
    ORDER,
    READS_FROM,
    STREAM,
    WRITES_TO,
    depth,
    holds,
)


def test_the_order_has_every_component_once():
    assert sorted(ORDER) == sorted(COMPONENTS)


def test_nothing_reads_what_is_computed_after_it():
    for reader, stream in READS_FROM.items():
        layer = None if reader == "logits" else 4
        assert depth(stream, 4) <= depth(reader, layer)
    for writer, out in WRITES_TO.items():
        assert depth(writer, None if writer == "embed" else 4) <= depth(out, 4)
    for sublayer, parts in INSIDE.items():
        assert all(depth(part, 2) < depth(sublayer, 2) for part in parts)
    assert all(WRITES_TO[name] == out for name, out in LINEAR_WRITERS.items())


def test_depth():
    assert depth("embed", None) < depth("resid_pre", 0) < depth("q", 0) == depth("v", 0) < depth("pattern", 0)
    assert depth("resid_post", 0) < depth("resid_pre", 1) < depth("logits", None)
    assert depth("logits", None)[0] == math.inf


def test_a_sublayer_holds_what_it_computes():
    assert holds("attn_out", "z")
    assert holds("attn_out", "attn_out")
    assert not holds("attn_out", "mlp_post")
    assert not any(holds(stream, "z") for stream in STREAM)
