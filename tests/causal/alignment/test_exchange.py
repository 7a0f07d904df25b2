"""The run behind every interchange against plain hooks on the bare model and against pyvene."""

import numpy as np
import pytest
import torch
from zoo import bare, build, loaded, make_pairs

import mechcausal as mc
from mechcausal.address import Place
from mechcausal.causal.alignment.exchange import Cell, exchange, placebos, score
from mechcausal.causal.alignment.pairs import draw_pairs
from mechcausal.causal.answers import answer_tokens
from mechcausal.causal.hypothesis import Hypothesis, table_of
from mechcausal.data import PromptSet, pad
from mechcausal.models.abilities import abilities

HEADS, HEAD = 4, 8
AT = 4  # a position before the last, so that what follows must be computed anew


@pytest.fixture(scope="module")
def sides():
    return make_pairs(changed=(1, 3, 4))


@pytest.fixture(scope="module")
def another():
    return make_pairs(seed=1).clean


def rotation(k, width=32, seed=5):
    return torch.linalg.qr(torch.randn(width, k, generator=torch.Generator().manual_seed(seed)))[0]


# Plain hooks: the formula base + R R'(source - base), written down once more


def module_of(model, site):
    layer = model.transformer.h[int(site[1])]
    return {"resid_post": layer, "attn_out": layer.attn.c_proj, "mlp_out": layer.mlp, "z": layer.attn.c_proj}[
        site.split(".")[1]
    ]


def with_hooks(tokens, swaps):
    """Run the bare model with (site, base position, source tokens, source position, columns) exchanged."""
    model = bare("gpt2")
    taken, handles = [], []
    for site, _, source, position, _ in swaps:
        kept = []
        module = module_of(model, site)
        before = ".z." in site
        hook = (
            module.register_forward_pre_hook(lambda m, args, kept=kept: kept.append(args[0].clone()))
            if before
            else module.register_forward_hook(lambda m, args, out, kept=kept: kept.append(first(out).clone()))
        )
        model(source)
        hook.remove()
        taken.append(kept[0][:, position])
    for (site, position, _, _, columns), value in zip(swaps, taken, strict=True):

        def act(activation, site=site, position=position, columns=columns, value=value):
            new = activation.clone()
            part = slice(None)
            if ".z." in site:
                head = int(site[-1])
                part = slice(head * HEAD, (head + 1) * HEAD)
            change = value[:, part] - new[:, position, part]
            new[:, position, part] += change if columns is None else change @ columns @ columns.T
            return new

        module = module_of(model, site)
        if ".z." in site:
            handles.append(module.register_forward_pre_hook(lambda m, args, act=act: (act(args[0]), *args[1:])))
        else:
            handles.append(
                module.register_forward_hook(
                    lambda m, args, out, act=act: (act(out[0]), *out[1:]) if isinstance(out, tuple) else act(out)
                )
            )
    logits = model(tokens).logits[:, -1]
    for handle in handles:
        handle.remove()
    return logits


def first(out):
    return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize("site", ["L1.resid_post", "L0.attn_out", "L1.mlp_out", "L1.z.H2", "L0.z.H0"])
@pytest.mark.parametrize("k", [None, 1, 3])
def test_one_part_against_plain_hooks(sides, site, k):
    columns = None if k is None else rotation(k, HEAD if ".z." in site else 32)
    part = {"site": site, "at": f"@{AT}"} | ({} if k is None else {"basis": columns.T})
    ours = exchange(loaded("gpt2"), sides.clean, (Place.parse(part), sides.corrupt))
    theirs = with_hooks(sides.clean.tokens, [(site, AT, sides.corrupt.tokens, AT, columns)])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert (ours - loaded("gpt2")(sides.clean.tokens)[:, -1]).abs().max() > 1e-3


def test_several_sources_against_plain_hooks(sides, another):
    columns = rotation(2)
    first, second = f"L0.z.H1@{AT}", Place.parse({"site": "L1.resid_post", "at": "@2", "basis": columns.T})
    ours = exchange(loaded("gpt2"), sides.clean, (first, sides.corrupt), (second, another))
    swaps = [("L0.z.H1", AT, sides.corrupt.tokens, AT, None), ("L1.resid_post", 2, another.tokens, 2, columns)]
    torch.testing.assert_close(ours, with_hooks(sides.clean.tokens, swaps), rtol=0, atol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_prompts_whose_positions_differ(sides, side):
    """A named position may stand elsewhere in the source; the shorter source is padded, which changes nothing."""
    rows = sides.corrupt.tokens[:, :5].tolist()
    short = PromptSet(*pad(rows, side=side), side=side, positions={"word": torch.full((6,), 1)})
    base = PromptSet(sides.clean.tokens, sides.clean.mask, side=side, positions={"word": torch.full((6,), 3)})
    ours = exchange(loaded("gpt2"), base, ("L1.resid_post@word", short))
    theirs = with_hooks(base.tokens, [("L1.resid_post", 3, short.tokens, 1, None)])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


# pyvene


@pytest.fixture(scope="module")
def pyvene():
    pytest.importorskip("pyvene")
    import pyvene

    return pyvene


PEERS = {
    "L1.resid_post": "block_output", "L1.resid_pre": "block_input", "L1.mlp_out": "mlp_output",
    "L1.attn_out": "attention_output", "L1.mlp_post": "mlp_activation",
}  # fmt: skip


def in_pyvene(pyvene, kinds, base, sources, locations, columns=None):
    """Return what pyvene's interchange gives at the last position; each source has its own intervention."""
    model = pyvene.IntervenableModel(pyvene.IntervenableConfig(kinds), build("gpt2"))
    if columns is not None:
        (intervention,) = model.interventions.values()
        intervention.rotate_layer.weight = columns
    at = {"sources->base": locations}
    _, out = model({"input_ids": base.tokens}, [{"input_ids": one.tokens} for one in sources], unit_locations=at)
    return out.logits[:, -1].detach()


@pytest.mark.parametrize("site", PEERS)
def test_equal_to_pyvene(pyvene, sides, site):
    kind = {"layer": 1, "component": PEERS[site], "intervention_type": pyvene.VanillaIntervention}
    theirs = in_pyvene(pyvene, [kind], sides.clean, [sides.corrupt], AT)
    ours = exchange(loaded("gpt2"), sides.clean, (f"{site}@{AT}", sides.corrupt))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert (ours - loaded("gpt2")(sides.clean.tokens)[:, -1]).abs().max() > 1e-2


def test_one_head_equal_to_pyvene(pyvene, sides):
    kind = {
        "layer": 1, "component": "head_attention_value_output", "unit": "h.pos",
        "intervention_type": pyvene.VanillaIntervention,
    }  # fmt: skip
    n = len(sides.clean)
    where = [[[[2]] * n, [[AT]] * n]]
    theirs = in_pyvene(pyvene, [kind], sides.clean, [sides.corrupt], (where, where))
    ours = exchange(loaded("gpt2"), sides.clean, (f"L1.z.H2@{AT}", sides.corrupt))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_directions_equal_to_pyvene(pyvene, sides):
    columns = rotation(3)
    kind = {
        "layer": 1, "component": "block_output", "low_rank_dimension": 3,
        "intervention_type": pyvene.LowRankRotatedSpaceIntervention,
    }  # fmt: skip
    theirs = in_pyvene(pyvene, [kind], sides.clean, [sides.corrupt], AT, columns)
    part = Place.parse({"site": "L1.resid_post", "at": f"@{AT}", "basis": columns.T})
    ours = exchange(loaded("gpt2"), sides.clean, (part, sides.corrupt))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_two_sources_equal_to_pyvene(pyvene, sides, another):
    kinds = [
        {"layer": layer, "component": word, "intervention_type": pyvene.VanillaIntervention}
        for layer, word in ((0, "mlp_output"), (2, "block_output"))
    ]
    n = len(sides.clean)
    where = [[[AT]] * n, [[6]] * n]
    theirs = in_pyvene(pyvene, kinds, sides.clean, [sides.corrupt, another], (where, where))
    swaps = ((f"L0.mlp_out@{AT}", sides.corrupt), ("L2.resid_post@6", another))
    ours = exchange(loaded("gpt2"), sides.clean, *swaps)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


# Scores of many pairs


@pytest.fixture(scope="module")
def many(hiring):
    hypothesis = Hypothesis.of("hiring")
    prompts = mc.task("hiring").prompts(hiring, 40, environment="broad")
    draw = np.random.default_rng(0)
    pairs = draw_pairs(hypothesis, table_of(prompts), ["merit", "bias"], np.arange(40), draw)
    return hypothesis, prompts, pairs, answer_tokens(hiring, hypothesis)


def test_scores_against_one_exchange_after_the_other(hiring, many):
    hypothesis, prompts, pairs, words = many
    elsewhere = {"merit": [Place.parse("L1.z.H3@decision")], "bias": [Place.parse("L2.z.H1@decision")]}
    cells = [Cell(pairs, {v: hypothesis.alignment[v] for v in ("merit", "bias")}), Cell(pairs, elsewhere)]
    found = score(hiring, prompts, cells, words, batch_size=16)
    assert found.forwards == 3 * (1 + 2 + 2)  # in each batch: the base, both sources once for both cells, the cells
    again = score(hiring, prompts, cells, words, batch_size=40)
    np.testing.assert_allclose(found.toward, again.toward, atol=1e-4)
    for number, cell in enumerate(cells):
        swaps = [(list(cell.parts[v]), prompts.take(torch.as_tensor(pairs.sources[v]))) for v in ("merit", "bias")]
        logits = exchange(hiring, prompts, *swaps)
        said = logits[:, words].numpy()
        np.testing.assert_array_equal(found.hits[number], said.argmax(1) == pairs.expected)
        np.testing.assert_array_equal(found.strict[number], logits.argmax(1) == words[pairs.expected])
        changed = np.flatnonzero(pairs.changed)
        toward = said[changed, pairs.expected[changed]] - said[changed, pairs.before[changed]]
        np.testing.assert_allclose(found.toward[number, changed], toward, atol=1e-4)
        assert found.unedited[0][number, ~pairs.changed].all()
        assert not found.unedited[0][number, changed].any()
    assert 0 < found.hits[1].mean() < found.hits[0].mean() == 1


def test_rows_that_lack_a_position_are_no_number(by_hand):
    hypothesis = Hypothesis.of("by_hand")
    prompts = mc.task("by_hand").prompts(by_hand, 8)
    pairs = draw_pairs(hypothesis, table_of(prompts), ["gender"], np.arange(8), np.random.default_rng(0))
    cells = [Cell(pairs, {"gender": [Place.parse(f"L0.resid_post@{at}")]}) for at in (3, 9)]
    found = score(by_hand, prompts, cells, answer_tokens(by_hand, hypothesis), batch_size=8)
    assert np.isfinite(found.hits[0]).all()
    assert np.isnan(found.hits[1]).all()


# Placebos


def test_placebos_are_places_that_nothing_names(hiring):
    hypothesis, able = Hypothesis.of("hiring"), abilities(hiring)
    named = {part.site for parts in hypothesis.alignment.values() for part in parts}
    found = placebos(able, list(hypothesis.alignment["merit"]), hypothesis, 30, np.random.default_rng(0))
    sites = [part.site for (part,) in found]
    assert len(set(sites)) == len(sites) == 16 - sum(site.component == "z" for site in named)
    assert not named & set(sites)
    assert {str(part.at) for (part,) in found} == {"@decision"}
    assert len(placebos(able, list(hypothesis.alignment["merit"]), hypothesis, 3, np.random.default_rng(0))) == 3


def test_placebos_of_a_stream_are_earlier(hiring):
    hypothesis = Hypothesis.of("hiring").replaced(alignment={"score": "L2.resid_post@decision"})
    parts = list(hypothesis.alignment["score"])
    found = placebos(abilities(hiring), parts, hypothesis, 9, np.random.default_rng(0))
    assert sorted(str(part.site) for (part,) in found) == ["L0.resid_post", "L1.resid_post"]


def test_placebos_of_a_subspace_are_beside_all_that_is_named(hiring):
    columns = rotation(5, 48)
    spec = {"site": "L1.resid_post", "at": "decision"}
    hypothesis = Hypothesis.of("hiring").replaced(
        alignment={"merit": spec | {"basis": columns[:, :3].T}, "bias": spec | {"basis": columns[:, 3:].T}}
    )
    found = placebos(abilities(hiring), list(hypothesis.alignment["merit"]), hypothesis, 4, np.random.default_rng(0))
    assert len(found) == len(set(found)) == 4
    for (part,) in found:
        rows = torch.tensor(part.basis)
        torch.testing.assert_close(rows @ rows.T, torch.eye(3), atol=1e-5, rtol=0)
        assert (rows @ columns).abs().max() < 1e-5


def test_several_parts_go_to_several_places(hiring):
    hypothesis = Hypothesis.of("hiring")
    parts = [*hypothesis.alignment["merit"], *hypothesis.alignment["bias"]]
    for chosen in placebos(abilities(hiring), parts, hypothesis, 9, np.random.default_rng(1)):
        assert len(set(chosen)) == 2
