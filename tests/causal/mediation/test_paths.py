"""Path-specific effects against a plain recursion, closed forms, the task's causal model, and path patching."""

from functools import cache, cached_property

import numpy as np
import pandas as pd
import pytest
import torch
from saved import assert_kept
from zoo import build, loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal import Hypothesis, mediate, path_effects
from mechcausal.causal.hypothesis import table_of
from mechcausal.causal.mediation.arrows import Arrow, graphs_of
from mechcausal.causal.mediation.worlds import Worlds
from mechcausal.errors import MechcausalError

N_LAYERS, N_HEADS, D_HEAD = 3, 4, 8


@cache
def twins():
    """Return one GPT-2 in double precision: as a bridge, and written out."""
    return mc.load(build("gpt2").double()), Written(build("gpt2").double())


def columns(selection):
    """Return the positions of a selection in prompts of one length, as an index."""
    words = str(selection).removeprefix("@")
    if words == "all":
        return slice(None)
    if ":" in words:
        return slice(*(int(word) for word in words.split(":")))
    return slice(int(words), int(words) + 1 or None)


def put(whole, place, other):
    """Return an activation, with a place as another activation has it; a pattern's positions are those of its queries."""
    out, site, at = whole.clone(), place.site, columns(place.at)
    if site.component == "pattern":
        out[:, site.head, at] = other[:, site.head, at]
    elif site.neuron is not None:
        out[:, at, site.neuron] = other[:, at, site.neuron]
    elif site.head is not None:
        new, old = other[:, at, site.head], whole[:, at, site.head]
        rows = torch.tensor(place.basis or torch.eye(D_HEAD).tolist(), dtype=torch.float64)
        out[:, at, site.head] = old + (new - old) @ torch.linalg.pinv(rows) @ rows
    else:
        out[:, at] = other[:, at]
    return out


class Written:
    """GPT-2, one sublayer at a time; `keep(name, value)` may give back another value for what was computed."""

    def __init__(self, model):
        self.model, self.body = model, model.transformer

    def begin(self, tokens):
        return self.body.wte(tokens) + self.body.wpe(torch.arange(tokens.shape[1]))

    def attention(self, layer, stream, keep):
        block = self.body.h[layer]
        joined = block.attn.c_attn(block.ln_1(stream)).chunk(3, dim=-1)
        q, k, v = (keep(name, part.unflatten(-1, (N_HEADS, D_HEAD))) for name, part in zip("qkv", joined, strict=True))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / D_HEAD**0.5
        future = torch.ones(scores.shape[-2:]).triu(1).bool()
        pattern = keep("pattern", scores.masked_fill(future, float("-inf")).softmax(-1))
        z = keep("z", torch.einsum("bhqk,bkhd->bqhd", pattern, v))
        return keep("attn_out", block.attn.c_proj(z.flatten(2)))

    def mlp(self, layer, stream, keep):
        block = self.body.h[layer]
        return keep("mlp_out", block.mlp.c_proj(keep("mlp_post", block.mlp.act(block.mlp.c_fc(block.ln_2(stream))))))

    def sublayers(self):
        for layer in range(N_LAYERS):
            yield layer, self.attention, ("q", "k", "v", "pattern", "z", "attn_out")
            yield layer, self.mlp, ("mlp_post", "mlp_out")

    def end(self, stream):
        return self.model.lm_head(self.body.ln_f(stream))

    def run(self, tokens):
        """Return every activation by its name."""
        stream = self.begin(tokens)
        seen = {"embed": self.body.wte(tokens)}
        for layer, sublayer, _ in self.sublayers():
            stream = stream + sublayer(layer, stream, lambda name, x, at=layer: seen.setdefault(f"L{at}.{name}", x))
        return seen | {"logits": self.end(stream)}

    def contributed(self, place, after, before):
        """Return what a change of a place changes in the stream."""
        change, block = after - before, self.body.h[place.site.layer or 0]
        if place.site.component == "z":
            return change.flatten(2) @ block.attn.c_proj.weight
        return change @ block.mlp.c_proj.weight if place.site.component == "mlp_post" else change


WITHIN = ("q pattern", "k pattern", "q z", "k z", "v z", "pattern z", "z attn_out", "mlp_post mlp_out")


class Recursion:
    """The definition: a place passes on what it computes from its declared inputs, all else being as in the low world."""

    def __init__(self, net, arrows, high, low):
        self.net, self.arrows, self.tokens = net, arrows, low
        self.high, self.low = net.run(high), net.run(low)
        self.places = {end for arrow in arrows for end in (arrow.sender, arrow.receiver)}
        self.known = {}

    def passed(self, place):
        """Return the activation of the low world in which the place has what it passes on."""
        if place not in self.known:
            name = str(place.site.whole)
            incoming = any(arrow.receiver == place for arrow in self.arrows)
            self.known[place] = put(self.low[name], place, self.arriving(place)[name] if incoming else self.high[name])
        return self.known[place]

    def change(self, place):
        return self.net.contributed(place, self.passed(place), self.low[str(place.site.whole)])

    def arriving(self, receiver):
        """Return what is computed up to a receiver when its declared senders alone pass something on."""
        forced, direct = {}, 0
        for arrow in self.arrows:
            if arrow.receiver == receiver:
                a, b = arrow.sender.site, receiver.site
                inside = a.layer == b.layer and f"{a.component} {b.component}" in WITHIN
                if inside or arrow.kind == "all":
                    forced[arrow.sender] = self.passed(arrow.sender)
                else:
                    direct = direct + self.change(arrow.sender)
        stream = self.net.begin(self.tokens)
        stream = stream + sum(self.change(place) for place in forced if place.site.component == "embed")
        seen = {}
        for layer, sublayer, names in self.net.sublayers():

            def keep(name, x, layer=layer):
                full = f"L{layer}.{name}"
                here = [place for place in self.places if str(place.site.whole) == full != str(receiver.site.whole)]
                for place in sorted(here, key=lambda place: place in forced):
                    x = put(x, place, forced.get(place, self.low[full]))
                return seen.setdefault(full, x)

            if receiver.site.layer == layer and receiver.site.component in names:
                sublayer(layer, stream + direct, keep)
                return seen
            stream = stream + sublayer(layer, stream, keep)
        return {"logits": self.net.end(stream + direct)}

    @cached_property
    def logits(self):
        end = Place.parse("logits")
        return self.arriving(end)["logits"] if end in self.places else self.low["logits"]


def difference(logits, prompts):
    rows = torch.arange(len(prompts))
    return (logits[rows, -1, prompts.answer] - logits[rows, -1, prompts.foil]).numpy()


def by_recursion(pairs, arrows):
    return difference(Recursion(twins()[1], arrows, pairs.clean.tokens, pairs.corrupt.tokens).logits, pairs.clean)


def arrows_of(pairs, edges):
    return graphs_of(edges, Worlds.of(twins()[0], pairs, "logit_diff"))[0].arrows


def random_place(draw):
    component = draw.choice(
        ["embed", "z", "z", "z", "q", "k", "v", "pattern", "attn_out", "mlp_post", "mlp_out", "mlp_out"]
    )
    text = component if component == "embed" else f"L{draw.integers(N_LAYERS)}.{component}"
    if component in ("z", "q", "k", "v", "pattern"):
        text += f".H{draw.integers(N_HEADS)}"
    if component == "mlp_post":
        text += f".N{draw.integers(128)}"
    at = draw.choice(["@1", "@3", "@2:5", "@-1", "@-1", "@all"])
    basis = draw.normal(size=(2, D_HEAD)).tolist() if component in "qkvz" and draw.random() < 0.2 else ()
    return Place.parse({"site": text, "at": at, "basis": basis})


def random_graph(draw, worlds):
    """Return edges that are accepted: places wired at random, what leads nowhere left out."""
    while True:
        places = sorted({random_place(draw) for _ in range(draw.integers(2, 7))}, key=lambda place: place.depth)
        ends = [*places, Place.parse("logits")]
        wanted = [
            Arrow(a, b, str(draw.choice(["direct", "direct", "all"])))
            for number, a in enumerate(places)
            for b in ends[number + 1 :]
            if draw.random() < 0.6
        ]
        arrows = []
        for arrow in reversed(wanted):  # from the end: where nothing goes on, nothing need arrive
            onward = arrow.receiver == ends[-1] or any(arrow.receiver == kept.sender for kept in arrows)
            try:
                if onward:
                    graphs_of([arrow, *arrows], worlds)
                    arrows.append(arrow)
            except MechcausalError:
                continue
        if len(arrows) > 1:
            return arrows


def test_random_graphs_pass_on_what_the_plain_recursion_says():
    pairs = make_pairs(lengths=(7,) * 3, changed=(1, 3, 6))
    worlds, draw = Worlds.of(twins()[0], pairs, "logit_diff"), np.random.default_rng(0)
    graphs = {f"graph {number}": random_graph(draw, worlds) for number in range(24)}
    found = path_effects(twins()[0], pairs, graphs)
    for values, (name, arrows) in zip(found.examples, graphs.items(), strict=True):
        np.testing.assert_allclose(
            values, by_recursion(pairs, arrows), atol=1e-9, err_msg=f"{name}: {list(map(str, arrows))}"
        )
    kinds = [arrow.kind for arrows in graphs.values() for arrow in arrows]
    assert min(kinds.count("all"), kinds.count("direct")) > 20
    assert (np.abs(found.examples - found.baselines["base"]).max(1) > 1e-4).mean() > 0.8
    assert max(map(len, graphs.values())) > 6


@pytest.mark.parametrize(
    "edges",
    [
        # What arrives at an attention does not pass through its declared head unless that is an edge.
        ["L0.mlp_out@1 -> L1.attn_out@-1 -> logits", "embed@1 -> L1.z.H0@-1 -> L2.mlp_out@-1 -> logits"],
        ["L0.mlp_out@1 -> L1.attn_out@-1 -> logits", "embed@1 -> L1.z.H0@-1 -> L1.attn_out@-1"],
        # A head whose value comes along one edge and whose pattern along another.
        ["embed@1 -> L1.v.H2@1 -> L1.z.H2@-1 -> logits", "L0.z.H1@3 => L1.pattern.H2@-1 -> L1.z.H2@-1"],
        # The same place is reached along all paths and directly, and one declared place stands between.
        [
            "embed@1 => L2.mlp_out@-1 -> logits",
            "L1.mlp_out@-1 -> L2.mlp_out@-1",
            "L1.mlp_out@-1 => L2.z.H0@-1 -> logits",
        ],
        ["L0.q.H1@-1 => L2.k.H3@all => logits", "L0.mlp_post.N5@all -> logits"],
    ],
)
def test_chosen_graphs_pass_on_what_the_plain_recursion_says(edges):
    pairs = make_pairs(lengths=(7,) * 3, changed=(1, 3, 6))
    found = path_effects(twins()[0], pairs, edges)
    np.testing.assert_allclose(found.examples[0], by_recursion(pairs, arrows_of(pairs, edges)), atol=1e-9)
    assert np.abs(found.examples[0] - found.baselines["base"]).max() > 1e-4


def every_edge(name, apart=None):
    """Return the direct edges between all components; one place may pass on to the logits alone."""
    nodes = ["embed"]
    for layer in range(N_LAYERS):
        nodes += [*(f"L{layer}.z.H{head}" for head in range(N_HEADS)), f"L{layer}.mlp_out"]
    nodes += ["logits"]
    return [
        (a, b)
        for i, a in enumerate(nodes)
        for b in nodes[i + 1 :]
        if a.split(".")[:2] != b.split(".")[:2]  # heads of one attention
        and not (name == "neox" and a[:2] == b[:2])  # attention and MLP side by side
        and (a != apart or b == "logits")
    ]


@pytest.mark.parametrize("name", ["gpt2", "neox", "llama", "gemma2"])
def test_all_paths_are_all_direct_edges(name):
    """The complete graph of direct edges is the total effect, and the edges along all paths around a place what they say."""
    pairs = make_pairs(lengths=(7,) * 4, changed=(1, 3, 6))
    found = path_effects(
        loaded(name),
        pairs,
        {
            "every edge": every_edge(name),
            "all paths": "embed => logits",
            "none": [],
            "every edge, one apart": every_edge(name, apart="L1.z.H0"),
            "around one": ["embed => logits", "embed => L1.z.H0 -> logits"],
        },
    )
    values = dict(zip(found.frame["label"], found.examples, strict=True))
    for whole in ("every edge", "all paths"):
        np.testing.assert_allclose(values[whole], found.baselines["clean"], atol=2e-4)
    np.testing.assert_array_equal(values["none"], found.baselines["corrupt"])
    np.testing.assert_allclose(values["around one"], values["every edge, one apart"], atol=2e-4)
    assert np.abs(values["around one"] - values["every edge"]).max() > 1e-3
    assert found.frame["edges"].tolist()[1:3] == [1, 0]


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("place", ["L1.z.H2@-1", "L0.mlp_out@all", "L1.resid_pre@3", "L1.k.H1@all"])
def test_all_paths_from_one_place_are_its_pure_indirect_effect(name, place):
    pairs = make_pairs(changed=(1, 3, 6))
    along = path_effects(loaded(name), pairs, [(place, "logits", "all")])
    np.testing.assert_allclose(along.examples, mediate(loaded(name), pairs, [[place]]).examples, atol=1e-5)
    assert np.abs(along.examples - along.baselines["base"]).max() > 1e-3


@pytest.mark.parametrize("name", ["gpt2", "neox", "llama", "gemma2"])
@pytest.mark.parametrize(
    ("sender", "receiver"),
    [("L0.z.H1", "L2.mlp_out"), ("L0.mlp_out", "L1.v.H1"), ("embed", "L1.q.H3"), ("L1.z.H0", "logits")],
)
def test_one_direct_edge_is_a_path_patch(name, sender, receiver):
    pairs = make_pairs(changed=(1, 3, 6))
    edges = [(sender, receiver), *([] if receiver == "logits" else [(receiver, "logits", "all")])]
    patched = mc.path_patch(loaded(name), pairs, senders=[sender], receivers=[receiver])
    np.testing.assert_allclose(path_effects(loaded(name), pairs, edges).examples, patched.examples, atol=2e-5)


def test_prompts_of_different_length_on_either_side():
    edges = ["embed@1 -> L1.v.H2@all => L2.mlp_out@-1 -> logits", "L0.z.H1@-2 => L2.mlp_out@-1"]
    right, left = (make_pairs(lengths=(5, 7, 6), changed=(1, 3, 4), side=side) for side in ("right", "left"))
    found = path_effects(loaded("gpt2"), right, edges)
    np.testing.assert_allclose(found.examples, path_effects(loaded("gpt2"), left, edges).examples, atol=1e-5)
    for row in range(3):
        alone = path_effects(loaded("gpt2"), right.take([row]), edges)
        np.testing.assert_allclose(found.examples[:, [row]], alone.examples, atol=1e-5)


# Organisms


def test_the_paths_of_the_formula(by_hand):
    """Every path of the by-hand model, unit by unit, as its causal model has it."""
    scm, pairs = mc.task("by_hand").scm, mc.contrast("by_hand/gender", by_hand, n=16)
    head = "embed@gender -> L0.z.H0@end"
    routes = {
        f"{head} -> logits": [("gender", "g", "log_odds")],
        f"{head} -> L1.mlp_out@end -> logits": [("gender", "g", "joint", "log_odds")],
        "embed@gender -> L0.v.H0@gender -> L0.z.H0@end -> L1.mlp_post.N0@end -> logits": [
            ("gender", "g", "joint", "log_odds")
        ],
        "embed@gender -> L0.z.H1@end -> logits": [],
        "embed@level -> L0.z.H2@end -> logits": [],
    }
    found = path_effects(by_hand, pairs, {**{text: text for text in routes}, "both": list(routes)[:2]})
    assert (found.frame["label"] == [*routes, "both"]).all()
    units = scm.counterfactual(table_of(pairs.corrupt))
    for values, paths in zip(
        found.examples, [*routes.values(), [path for text in list(routes)[:2] for path in routes[text]]], strict=True
    ):
        along = scm.along_paths(units, "gender", paths, low=0, high=1)["log_odds"] if paths else units["log_odds"]
        np.testing.assert_allclose(values, along, atol=1e-5)


def test_the_truth_that_ships_with_the_formula(by_hand):
    told = mc.truth("by_hand")["gender_effects"]["path"]
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    edges = {
        name: " -> ".join(f"{end}@end" for end in name.removesuffix(" -> logits").split(" -> ")) + " -> logits"
        for name in told
    }
    found = path_effects(by_hand, pairs, edges).by_group().set_index(["label", "group"])["change"]
    for name, effects in told.items():
        assert [found[(name, level)] for level in ("low", "high")] == pytest.approx(
            [effects["low"], effects["high"]], abs=1e-5
        )


def test_the_paths_of_a_hypothesis(by_hand):
    found = path_effects(by_hand, mc.contrast("by_hand/gender", by_hand, n=16), Hypothesis.of("by_hand"))
    effects = found.by_group().set_index(["label", "group"])["change"]
    expected = {
        "gender -> answer": (2.6, 2.6), "level -> answer": (0, 0), "gender -> joint -> answer": (0, 0.9),
        "level -> joint -> answer": (0, 0), "all paths": (2.6, 3.5),
    }  # fmt: skip
    assert set(found.frame["label"]) == set(expected)
    for name, values in expected.items():
        assert [effects[(name, level)] for level in ("low", "high")] == pytest.approx(values, abs=1e-5)


def test_the_hiring_network_passes_on_what_its_causal_model_does(hiring):
    """Applicant by applicant: only proxy, only bias, or both as for the other gender, up to the decision."""
    pairs = mc.task("hiring").contrast(hiring, "gender", 160, seed=5)
    high, low = table_of(pairs.clean), table_of(pairs.corrupt)
    accept = hiring.tokenizer.convert_tokens_to_ids("accept")

    def p_accept(logits, batch):
        return logits[torch.arange(len(batch)), batch.read_columns].softmax(-1)[:, accept]

    found = path_effects(hiring, pairs, Hypothesis.of("hiring"), metric=p_accept)
    for name, moved in {
        "merit -> score -> decision": (), "proxy -> score -> decision": ("proxy",), "bias -> score -> decision": ("bias",),
        "all paths": ("proxy", "bias"),
    }.items():  # fmt: skip
        merit, proxy, bias = ((high if v in moved else low)[v] for v in ("merit", "proxy", "bias"))
        accepted = (merit + 2 * proxy + bias >= 5).astype(float)
        (number,) = np.flatnonzero(found.frame["label"] == name)
        assert np.abs(found.examples[number] - accepted).mean() < 0.01
        assert found.frame["change"][number] == pytest.approx((accepted - found.baselines["base"]).mean(), abs=1e-2)
    assert "not on the log-odds scale" in found.summary()


# The result


def test_what_the_result_says(by_hand, tmp_path):
    pairs = mc.contrast("by_hand/gender", by_hand, n=16)
    sets = {
        "past the MLP": "L0.z.H0@end -> logits",
        "through it": "L0.z.H0@end -> L1.mlp_out@end -> logits",
        "none": [],
    }
    found = path_effects(by_hand, pairs, sets)
    assert "past the MLP" in repr(found)
    assert "effect +2.600" in repr(found)
    assert "2 of 3 sets of edges have an effect after correction for all of them" in repr(found)
    assert "* through it" in found._repr_html_()
    rows = found.frame.set_index("label")
    assert rows.loc["none", ["p", "q", "p_max"]].tolist() == [1, 1, 1]
    assert rows.loc["past the MLP", ["p", "q", "p_max"]].max() < 1e-3
    assert rows["edges"].tolist() == [1, 2, 0]
    assert found.provenance.arguments["edges"]["through it"] == [
        "L0.z.H0@end -> L1.mlp_out@end",
        "L1.mlp_out@end -> logits",
    ]
    assert found.plot().data[0].x == tuple(found.frame["change"])
    assert found._repr_html_().count("<svg") == 1
    back = assert_kept(found, tmp_path / "found.parquet")
    pd.testing.assert_frame_equal(back.frame, found.frame)
    many = path_effects(by_hand, pairs, {f"set {i}": "L0.z.H0@end -> logits" for i in range(11)})
    assert "and 2 more" in many.summary()
