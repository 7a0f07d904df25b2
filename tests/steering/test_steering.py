"""Steering: each dose and its cost against hooks on the plain model, and a vector that does what it should."""

import numpy as np
import pytest
import torch
from saved import assert_kept
from zoo import VOCAB, bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError

AT = {"at": "@decision", "read_at": "@decision"}


@pytest.fixture(scope="module")
def steered(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=40)
    neutral = mc.contrast("hiring/merit", hiring, n=8, seed=5).clean
    return mc.steer(hiring, pairs, "L2.resid_post", doses=[-1, 1, 2], neutral=neutral, **AT)


def hooked(plain, added):
    return plain.model.layers[1].register_forward_hook(lambda module, args, out: out + added)


def test_a_dose_is_that_of_hooks_on_the_plain_model():
    pairs, plain = make_pairs(lengths=(7,) * 8), bare("llama")
    vector = torch.randn(32, generator=torch.Generator().manual_seed(1))
    neutral = make_pairs(lengths=(6,) * 3, seed=9).clean
    found = mc.steer(
        loaded("llama"), pairs, "L1.resid_post", vector=vector.tolist(), doses=[0.5, 2], n_random=0, neutral=neutral
    )
    answers = set(map(tuple, pairs.corrupt.tokens.tolist()))
    assert found.examples.shape == (2, 4)
    rows = [n for n in range(8) if n in _measured_rows(pairs)]
    test = pairs.corrupt.take(rows)
    before = plain(neutral.tokens).logits.log_softmax(-1)
    for number, dose in enumerate((0.5, 2)):
        handle = hooked(plain, dose * vector)
        try:
            last, after = plain(test.tokens).logits[:, -1], plain(neutral.tokens).logits.log_softmax(-1)
        finally:
            handle.remove()
        index = torch.arange(len(test))
        odds = last[index, test.answer] - last[index, test.foil]
        assert np.allclose(found.examples[number], odds.numpy(), atol=1e-4)
        kl = (before.exp() * (before - after)).sum(-1).mean()
        assert found.frame["kl"][number] == pytest.approx(float(kl), abs=1e-4)
        losses = [-part[:, :-1].gather(2, neutral.tokens[:, 1:, None]).mean() for part in (before, after)]
        assert found.frame["loss"][number] == pytest.approx(float(losses[1] - losses[0]), abs=1e-4)
    assert answers


def _measured_rows(pairs):
    from mechcausal.data.splits import split, units

    return split(units(pairs), 0.5, [0, 23]).second.tolist()


def test_the_mean_difference_steers_more_than_random_directions(steered):
    rows = steered.doses.set_index("dose")
    assert rows.loc[1.0, "effect"] > 0.5
    assert rows.loc[-1.0, "change"] < 0
    assert (rows["p_random"] < 0.06).all()
    assert (rows["change"].abs() > rows[["random_low", "random_high"]].abs().max(axis=1)).all()
    assert rows.loc[2.0, "kl"] > rows.loc[1.0, "kl"] > 0
    assert steered.within(1e9)["dose"].item() == 2
    assert steered.within(0).empty


def test_the_mean_difference_is_the_mean_difference(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=40)
    found = mc.steer(hiring, pairs, "L2.resid_post", doses=[1], n_random=0, **AT)
    first = sorted(set(range(40)) - set(_measured_rows(pairs)))
    sides = [
        mc.read(hiring, side.take(first), "L2.resid_post", at="@decision")["L2.resid_post"]
        for side in (pairs.clean, pairs.corrupt)
    ]
    assert np.allclose(found.direction, (sides[0].mean(0) - sides[1].mean(0)).numpy(), atol=1e-4)
    assert found.doses["length"].item() == pytest.approx(float(np.linalg.norm(found.direction)), rel=1e-5)
    assert any("cost was not measured" in note for note in found.notes)


def test_a_probe_a_feature_and_a_head_steer_too(hiring):
    pairs = mc.contrast("hiring/gender", hiring, n=40)
    probed = mc.steer(hiring, pairs, "L2.resid_post", vector="probe", doses=[1], n_random=2, **AT)
    assert probed.doses["vector"].item() == "probe"
    bound = mc.features.directions(hiring, "L2.resid_post", {"given": list(probed.direction)}, name="found")
    feature = str(bound.feature(0))
    as_feature = mc.steer(hiring, pairs, "L2.resid_post", vector=feature, doses=[1], n_random=0, **AT)
    assert np.allclose(as_feature.direction, probed.direction, atol=1e-3)
    head = mc.steer(hiring, pairs, "L1.z.H2", doses=[1], n_random=2, **AT)
    assert head.frame["effect"].item() > 0.2


def test_asking_is_a_row_of_its_own():
    model = mc.load("organism:induction")
    words = ("red", "blue", "gold", "white")
    pairs = mc.Contrast.from_text(
        model, [f"{a} {b} {a}" for a in words for b in words if a != b], [f"{b} {a} {a}" for a in words for b in words if a != b],
        answer=[b for a in words for b in words if a != b], foil=[a for a in words for b in words if a != b],
    )  # fmt: skip
    neutral = mc.PromptSet.from_text(model, ["red blue gold", "white blue"])
    found = mc.steer(model, pairs, "L1.resid_post", doses=[1], ask="gray pink ", neutral=neutral, n_random=3)
    assert found.asked["label"].item() == "gray pink "
    assert np.isfinite(found.asked[["change", "kl"]].to_numpy(float)).all()
    assert "asked" in found.summary()
    assert len(found.chart().marks) == 1


def test_its_vector_goes_into_generation(steered, hiring, tmp_path):
    path = steered.save_direction(tmp_path / "gender.safetensors")
    edit = {"site": "L2.resid_post", "do": "add", "direction": str(path), "scale": 2.0}
    prompt = mc.contrast("hiring/gender", hiring, n=8).corrupt
    texts = [mc.generate(hiring, prompt, tokens=1, edits=[one]).examples for one in (edit, steered.edit(2, "both"))]
    assert str(steered.edit(2).at) == "@decision"
    assert texts[0].shape == (8, 1)
    assert np.isfinite(texts[1]).all()


def test_it_is_kept_drawn_and_costed(steered, hiring, tmp_path):
    assert_kept(steered, tmp_path / "steered.parquet")
    assert "random directions" in steered.plot().still
    assert "KL" in steered.cost_chart().describe()
    pairs = mc.contrast("hiring/gender", hiring, n=40)
    assert mc.steer.cost(hiring, pairs, "L2.resid_post").cells == 6
    spec = mc.methods.Steering("L2.resid_post", vector=[1.0, 2.0])
    assert mc.methods.read(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"site": "L1.z"}, "not one vector"), ({"site": "L1.resid_post.N2"}, "not one vector"), ({"vector": "men"}, "'mean'"),
        ({"vector": [1.0]}, "wrong length"), ({"vector": [0.0] * 32}, "is zero"), ({"doses": []}, "finite numbers"),
        ({"doses": ["x"]}, "finite numbers"), ({"ask": "please "}, "given as tokens"), ({"read_at": 0}, "do not differ"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(given, said):
    assert VOCAB == 60
    with pytest.raises(MechcausalError, match=said):
        mc.steer(loaded("llama"), make_pairs(), **{"site": "L1.resid_post"} | given)
