"""No kind of result leaves out what weakens it: few clusters, undeclared templates, and how many cells were looked at."""

import re
from dataclasses import replace
from functools import cache

import pytest

import mechcausal as mc
from mechcausal.errors import DataError
from mechcausal.results import result as result_module
from mechcausal.results.charted import Charted
from mechcausal.results.result import Result

FEW = "the intervals rest on"
TEMPLATES = "no clusters are declared"
MARK = "(marked *: p_max <= 0.05)"
TASK = "hiring"


@cache
def model():
    return mc.load("organism:hiring")


def dictionary():
    return mc.features.load(model(), "organism:hiring")


@cache
def hypothesis():
    return mc.causal.Hypothesis.of(TASK)


def pairs(clusters):
    """Return the question of gender with three clusters, or with none declared."""
    made = mc.contrast("hiring/gender", model(), n=36)
    sides = (replace(side, clusters=clusters(len(side))) for side in (made.clean, made.corrupt))
    return mc.Contrast(*sides, factor="gender", name="of a test")


def prompts(clusters):
    made = mc.task(TASK).prompts(model(), 60)
    return replace(made, clusters=clusters(60))


@cache
def circuit():
    return mc.discover(model(), mc.contrast("hiring/gender", model(), n=24), edges=6, steps=1)


def faithful(data):
    dictionaries, chosen_on = [dictionary()], mc.contrast("hiring/gender", model(), n=16)
    found = mc.features.circuit(model(), chosen_on, dictionaries, nodes=4, steps=1)
    return mc.features.faithfulness(model(), data, found.graph, among=dictionaries, ablation="zero", random=2)


def guarded(data):
    erasure = mc.features.erase(model(), data, "gender", sites="L1.resid_post", at="@decision")
    return mc.features.guardedness(model(), erasure, kinds=["logistic"])


def asked(data):
    suite = mc.features.fairness(data, protected="gender", at="@decision")
    return mc.features.probe_suite(model(), suite, sites=["L1.resid_post", "L2.resid_post"], control=False)


# From pairs.
OF_PAIRS = {
    "patch": lambda data: mc.patch(model(), data, sites="z"),
    "ablate": lambda data: mc.ablate(model(), data, sites="z"),
    "attribute": lambda data: mc.attribute(model(), data, sites="z"),
    "path_patch": lambda data: mc.path_patch(model(), data),
    "direct_logit_attribution": lambda data: mc.direct_logit_attribution(model(), data),
    "measure": lambda data: mc.measure(model(), data),
    "lens": lambda data: mc.lens(model(), data, at="@-1"),
    "attention": lambda data: mc.attention(model(), data),
    "mediate": lambda data: mc.causal.mediate(model(), data, "z"),
    "controlled": lambda data: mc.causal.controlled(model(), data, "L1.z.H2@decision", points=3),
    "path_effects": lambda data: mc.causal.path_effects(model(), data, "L1.z.H2@decision -> logits"),
    "steer": lambda data: mc.steer(model(), data, "L1.resid_post", n_random=2),
    "link": lambda data: mc.link(model(), data, "L1.z.H*", "gender", at="@decision", redrawn=0),
    "screen": lambda data: mc.features.screen(model(), data, dictionary(), top=4, random=2),
    "faithfulness": faithful,
    "evaluate_circuit": lambda data: circuit().evaluate(model(), data, random=1, minimality=0),
    "certify_circuit": lambda data: circuit().certify(model(), data, k=3, sample=2),
    "rediscover": lambda data: circuit().rediscover(model(), data, splits=1, seeds=0, methods=["eap"], rival=None),
}
# From prompts.
OF_PROMPTS = {
    "lens of prompts": lambda data: mc.lens(model(), data, at="@-1"),
    "interchange": lambda data: mc.causal.interchange(model(), data, hypothesis(), n=40),
    "interchange_sweep": lambda data: mc.causal.interchange_sweep(
        model(), data, TASK, "merit", sites="z", at="@decision", n=40
    ),
    "das": lambda data: mc.causal.das(
        model(), data, hypothesis(), "merit", "L1.resid_post@decision", steps=2, controls=False
    ),
    "mask": lambda data: mc.causal.mask(model(), data, hypothesis(), "merit", at="@decision", steps=2),
    "scrub": lambda data: mc.scrub(model(), data, hypothesis(), seeds=1, lonely="keep", n=40, controls=False),
    "ladder": lambda data: mc.causal.ladder(model(), data, hypothesis(), seeds=1, lonely="keep", n=40),
    "probe_sweep": lambda data: mc.features.probe_sweep(model(), data, "gender", at="@decision"),
    "sparse_probes": lambda data: mc.features.sparse_probes(
        model(), data, "gender", "L1.resid_post", at="@decision", ks=(1, 2)
    ),
    "guardedness": guarded,
    "probe_suite": asked,
    "generate": lambda data: mc.generate(model(), data.take(list(range(16))), tokens=1),
}
KINDS = {name: (call, pairs) for name, call in OF_PAIRS.items()}
KINDS |= {name: (call, prompts) for name, call in OF_PROMPTS.items()}
REFUSE = {"link", "rediscover", "das", "mask", "screen", "guardedness"}
"""What needs more than three clusters, and says so."""
NO_FAMILY = {
    "measure",
    "faithfulness",
    "evaluate_circuit",
    "certify_circuit",
    "rediscover",
    "generate",
    "lens of prompts",
}
"""Results whose rows are not cells among which to look for some; their docstrings say why."""


def made(name, clusters):
    call, data = KINDS[name]
    found = call(data(clusters))
    return found if isinstance(found, Result) else found.result


@cache
def with_few(name):
    return made(name, lambda n: tuple("abc"[i % 3] for i in range(n)))


@cache
def with_none(name):
    return made(name, lambda n: ())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KINDS.keys() - REFUSE - {"generate"}))
def test_few_clusters_are_said(name):
    said = with_few(name).summary()
    assert f"note: {FEW} " in said
    if with_few(name).family:
        # Clusters with a text in common are one unit for probes, and a vector is fitted on one cluster.
        assert re.search(r"note: with [23] clusters p_max cannot be below 0\.[25]", said)


@pytest.mark.parametrize("name", sorted(REFUSE))
def test_or_refused(name):
    with pytest.raises(DataError, match=r"too few independent|in one cluster only"):
        with_few(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KINDS))
def test_undeclared_templates_are_said(name):
    said = with_none(name).summary()
    assert said.count(f"note: {TEMPLATES}, but the ") == 1, said


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_family_is_said_and_survivors_are_marked(name):
    found = with_none(name)
    said = found.summary(k=len(found))
    assert (MARK in said) == (name not in NO_FAMILY)
    if name in NO_FAMILY:
        return
    assert {"p", "q", "p_max"} <= set(found.frame)
    tested = found.frame[found.frame["p_max"].notna()]
    assert tested["p"].notna().all()
    assert tested["q"].notna().all()
    assert f"{found.survives.sum()} of {found.family} " in said
    assert set(found.top(2)["family"]) == {found.family}
    assert found.top(2)["survives"].tolist() == found.survives[found._ranked(2).index].tolist()
    marks = said.replace(MARK, "").count("*")
    assert marks == 0 if not found.survives.any() else marks > 0
    if name in ("attention", "link"):  # patterns are no cells of the family; verdicts have colors and count it
        return
    picture = found._repr_html_().split("<pre>")[0]
    assert ("survive" in picture) == (found.survives.any() and "<svg" in picture)


@pytest.mark.slow
def test_every_kind_is_tried():
    from mechcausal.method import METHODS

    for face in (mc, mc.causal, mc.features, mc.patching, mc.methods):
        for name in dir(face):
            getattr(face, name)
    assert METHODS
    tried = {type(with_none(name)) for name in KINDS}
    ours = {kind for kind in kinds_below(Result) if kind.__module__.startswith("mechcausal.")}
    assert ours - {Charted} <= tried


def kinds_below(kind):
    for below in kind.__subclasses__():
        yield below
        yield from kinds_below(below)


def test_no_kind_says_its_own_summary_or_notes():
    for kind in kinds_below(Result):
        assert not {"summary", "notes"} & set(vars(kind)), kind
    assert result_module.Result.summary.__final__
