"""Lenses: exact at the last layer, the exact effect beside each reading, and a tuned lens that is better on held-out text."""

import numpy as np
import pytest
import torch
from saved import assert_kept
from unequal import PAIRS, columns, unequal
from written import logprobs, stream
from zoo import ARCHITECTURES, bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError
from mechcausal.results.multiplicity import benjamini_hochberg, t_test

CAUSAL = [name for name in ARCHITECTURES if name != "bert"]


@pytest.mark.parametrize("name", CAUSAL)
def test_the_last_layer_is_the_models_own_output(name):
    pairs = make_pairs(lengths=(7, 5, 6, 4))
    read = mc.lens(loaded(name), pairs, used=False)
    plain = bare(name)
    for row, place in enumerate(read.frame.itertuples()):
        if place.site != "L2.resid_post":
            continue
        for n, tokens in enumerate(pairs.clean.real_tokens):
            if place.position >= len(tokens):
                assert np.isnan(read.examples[row, n])
                continue
            logits = plain(torch.tensor([tokens])).logits[0, place.position]
            odds = logits[pairs.clean.answer[n]] - logits[pairs.clean.foil[n]]
            assert read.examples[row, n] == pytest.approx(float(odds), abs=2e-3)
        assert place.kl == pytest.approx(0, abs=1e-4)
        assert place.agrees == 1


def test_an_earlier_layer_is_norm_and_unembedding_of_its_stream():
    prompts, plain = make_pairs().clean, bare("llama")
    read = mc.lens(loaded("llama"), prompts, at=-1)
    hidden = plain(prompts.tokens, output_hidden_states=True).hidden_states[1][:, -1]
    logprobs = plain.lm_head(plain.model.norm(hidden)).log_softmax(-1)
    rows = torch.arange(len(prompts))
    odds = logprobs[rows, prompts.answer] - logprobs[rows, prompts.foil]
    assert np.allclose(read.examples[0], odds.numpy(), atol=1e-4)
    rank = 1 + (logprobs > logprobs[rows, prompts.answer][:, None]).sum(-1)
    assert read.frame["rank"].iloc[0] == float(rank.float().quantile(0.5))
    assert "used" not in read.frame


def test_beside_each_reading_stands_the_exact_effect(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=16)
    read = mc.lens(hiring, pairs, at=["@3", "@decision"])
    patched = mc.patch(hiring, pairs, sites="resid_post", at=["@3", "@decision"]).frame
    assert read.frame["used"].to_numpy() == pytest.approx(patched["effect"].to_numpy())
    assert read.frame[["site", "at"]].values.tolist() == patched[["site", "at"]].values.tolist()
    last = read.frame.iloc[-1]
    assert last["readable"] == pytest.approx(1)
    assert last["used"] == pytest.approx(1, abs=1e-4)
    assert "readable" in read.summary()
    for name in ("p", "q", "p_max"):
        assert read.frame[f"used_{name}"].to_numpy() == pytest.approx(patched[name].to_numpy())


def test_what_is_readable_is_tested_and_marked(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=32)
    read = mc.lens(hiring, pairs, at=["@0", "@decision"])
    sides = [mc.lens(hiring, side, at=["@0", "@decision"]).examples for side in (pairs.clean, pairs.corrupt)]
    np.testing.assert_allclose(read.frame["p"], t_test(sides[0] - sides[1])[1])
    np.testing.assert_allclose(read.frame["q"], benjamini_hochberg(read.frame["p"]))
    # Both sides begin with the same token, so nothing differs there.
    assert (read.survives == (read.frame["at"] == "@decision")).all()
    assert read.family == len(read) == 8
    assert "4 of 8 cells are readable (the two sides differ) after correction for all of them" in read.summary()
    assert "4 of 8 are used, by the same correction" in read.summary()
    top = read.top(5)
    assert set(top["family"]) == {8}
    assert top["survives"].sum() == 4
    words, *grids = read.grids()
    assert not words.marks.any()
    for grid in grids:
        assert grid.marks.tolist() == [[False, True]] * 4
    assert "4 marked with * survive the correction for all cells" in read._repr_html_()
    alone = mc.lens(hiring, pairs.clean, at="@decision")
    assert "p_max" not in alone.frame  # there is nothing with which it is compared
    assert alone.family == 0


@pytest.mark.parametrize("steps", [0, 20])
def test_a_tuned_lens_is_nearer_on_held_out_text_and_exact_at_the_end(hiring, steps):
    pairs = mc.contrast("hiring/gender", hiring, n=40)
    read = mc.lens(hiring, pairs, kind="tuned", at="@decision", steps=steps, used=False)
    tuning = read.tuning
    assert (tuning["tuned_lens"] <= tuning["logit_lens"] + 1e-6).all()
    assert (tuning["high"].iloc[:-1] < 0).all()
    assert tuning["tuned_lens"].iloc[-1] == pytest.approx(0, abs=1e-6)
    assert read.examples.shape[1] < len(pairs)  # those it was fitted on are not read
    assert any("held out" in note for note in read.notes)
    assert (read.frame["readable"].iloc[-1]) == pytest.approx(1)


def test_a_tuned_lens_can_be_fitted_on_other_prompts(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=24)
    others = mc.contrast("hiring/gender", hiring, n=24, seed=1).clean
    read = mc.lens(hiring, pairs.clean, kind="tuned", at=-1, train=others)
    assert read.examples.shape[1] == 24
    assert read.provenance.compute["fitted_on_tokens"] > 0


def test_it_is_kept_and_drawn(hiring, tmp_path):
    pairs = mc.contrast("hiring/gender", hiring, n=8)
    read = mc.lens(hiring, pairs, at="@decision")
    assert_kept(read, tmp_path / "lens.parquet")
    assert len(read.grids()) == 3
    assert "accept" in read.plot().still
    one = mc.lens(hiring, pairs.clean.take([0]))
    labels = one.frame["label"].unique().tolist()
    assert labels[-1] == "7 <dec>"
    assert [label.split()[0] for label in labels] == [str(n) for n in range(8)]
    cost = mc.lens.cost(hiring, pairs, at="@decision")
    assert cost.cells == 4
    assert cost.forwards > 16


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sites": "z"}, "a lens reads the stream"), ({"sites": "L1.resid_post.N3"}, "a lens reads the stream"),
        ({"at": "@nowhere"}, "no position called"), ({"kind": "tuned"}, "too few independent"), ({"kind": "jacobian"}, "'kind'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(given, said):
    with pytest.raises(MechcausalError, match=said):
        mc.lens(loaded("llama"), make_pairs(lengths=(5, 5)), **given)


def test_a_model_whose_output_is_no_norm_and_linear_map_is_refused():
    with pytest.raises(MechcausalError, match="norm"):
        mc.lens(loaded("bert"), make_pairs())


def test_answers_of_several_tokens_and_sets_are_read_by_their_first_tokens():
    model = mc.load("organism:induction")
    texts = ["red blue gold white blue gray red", "pink gray pink"]
    prompts = mc.PromptSet.from_text(model, texts, answer=[["blue", "gray"], ["gray", "gold"]], foil=["red", "red"])
    read = mc.lens(model, prompts, at=-1)
    assert np.isfinite(read.examples).all()
    single = [
        mc.lens(model, mc.PromptSet.from_text(model, texts, answer=list(words)), at=-1).examples[-1]
        for words in (("blue", "gray"), ("gray", "gold"), ("red", "red"))
    ]
    expected = np.logaddexp(single[0], single[1]) - single[2]
    assert np.allclose(read.examples[-1], expected, atol=1e-4)


def test_pairs_of_unequal_length_are_read_at_named_positions():
    model = mc.load("organism:induction")
    pairs = mc.Contrast.from_text(
        model, ["red blue gold red", "blue gold white blue"], ["red blue gold pink red", "blue gold gray white blue"],
        answer=["blue", "gold"], foil=["gold", "white"], positions={"middle": ["gold", "white"]},
        corrupt_positions={"middle": ["gold pink", "gray white"]},
    )  # fmt: skip
    read = mc.lens(model, pairs, at="@-1", used=False)
    assert read.frame["readable"].iloc[-1] == pytest.approx(1)


@pytest.mark.parametrize("mode", ["last", "mean", "each"])
def test_pairs_of_unequal_length_are_read_at_each_position_they_share(mode):
    """The log-odds at each position of the plain model, over the tokens that count as it; the effect is that of patching."""
    pairs, plain = unequal(mode), bare("llama")
    read = mc.lens(loaded("llama"), pairs, sites="L0.resid_post")
    gaps, outputs = np.full(read.examples.shape, np.nan), []
    for number, (before, first, after, second) in enumerate(PAIRS):
        size, values, ends = min(len(first), len(second)), [], []
        for span in (first, second):
            states = stream(plain, "llama", [*before, *span, *after], 1)
            logits = plain.lm_head(plain.model.norm(states))
            odds = (logits[:, pairs.clean.answer[number]] - logits[:, pairs.clean.foil[number]]).detach().numpy()
            values.append([odds[tokens].mean() for tokens in columns(before, span, after, mode, size)])
            table = logprobs(plain, "llama", [*before, *span, *after])[-1]
            ends.append(float(table[pairs.clean.answer[number]] - table[pairs.clean.foil[number]]))
        shared = slice(len(values[0]))
        assert read.examples[shared, number] == pytest.approx(values[0], abs=1e-4)
        assert np.isnan(read.examples[len(values[0]) :, number]).all()
        gaps[shared, number] = np.subtract(*values)
        outputs.append(ends[0] - ends[1])
    everywhere = np.isfinite(gaps).all(1)
    share = gaps.mean(1)[everywhere] / np.mean(outputs)
    assert read.frame["readable"][everywhere].to_numpy() == pytest.approx(share, abs=1e-3)
    patched = mc.patch(loaded("llama"), pairs, sites="L0.resid_post", at="each").frame
    assert read.frame["used"].to_numpy() == pytest.approx(patched["effect"].to_numpy(), nan_ok=True)
    assert read.frame["label"].tolist() == patched["label"].tolist()
