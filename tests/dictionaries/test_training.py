"""Training: planted directions are found, an interruption changes nothing, and the folder remembers what it is."""

import copy
import itertools
import json
import resource

import pytest
import torch
from limited import small_files
from zoo import loaded, make_pairs

import mechcausal as mc
from mechcausal.dictionaries import folder, saelens, training
from mechcausal.dictionaries.activations import Activations, harvest
from mechcausal.errors import (
    ArgumentError,
    DataError,
    MechcausalError,
    NumericsError,
    ResultError,
    SiteError,
    UnsupportedError,
)
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.hooked import forward

try:
    saelens.sae_lens()
except UnsupportedError:
    pytest.skip("sae-lens cannot be imported beside transformer-lens 4", allow_module_level=True)

SITE = "L1.resid_post"
KINDS = [kind for kind in saelens.KINDS if kind != "transcoder"]


@pytest.fixture(scope="module")
def planted():
    """Return activations that are sums of 3 of 24 known directions at random strengths, around a mean."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(24, 32, generator=draw)
    rows /= rows.norm(dim=-1, keepdim=True)
    chosen = torch.rand(6000, 24, generator=draw).topk(3, -1).indices
    strength = torch.zeros(6000, 24).scatter(-1, chosen, 1 + torch.rand(6000, 3, generator=draw))
    return rows, strength @ rows + torch.randn(32, generator=draw)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_planted_directions(kind, planted, tmp_path):
    model, (rows, x) = loaded("gpt2"), planted
    price = {"standard": 0.5, "gated": 0.5}.get(kind)
    made = mc.features.train(
        model,
        x,
        SITE,
        width=32,
        kind=kind,
        k=3,
        price=price,
        tokens=160_000,
        batch_size=256,
        rate=5e-3,
        out=tmp_path / kind,
    )
    try:
        with torch.no_grad():
            f = made.encode(x)
            error = x - made.decode(f)
        explained = 1 - float(error.square().sum() / (x - x.mean(0)).square().sum())
        best = (made.W_dec @ rows.T).max(0).values
        active = float((f > 0).sum(-1).float().mean())
        assert explained > 0.85, explained
        assert active < 12, active
        assert float((best > 0.9).float().mean()) > 0.6, best
        assert made.linear
        theirs = saelens.sae_lens().SAE.load_from_disk(str(tmp_path / kind))
        with torch.no_grad():
            torch.testing.assert_close(theirs.decode(theirs.encode(x)), made.decode(f), atol=1e-4, rtol=1e-4)
    finally:
        mc.features.detach(model, kind)


@pytest.mark.slow
def test_a_transcoder_learns_what_an_mlp_does(tmp_path):
    """The MLP of the model itself, on random prompts: most of the variance, and far more than its mean."""
    model = loaded("gpt2")
    prompts = make_pairs(lengths=(16,) * 200).clean
    made = mc.features.train(
        model, prompts, "L1.resid_mid", site_out="L1.mlp_out", kind="transcoder", width=256, price=0.02,
        tokens=200_000, batch_size=256, rate=3e-3, out=tmp_path / "over",
    )  # fmt: skip
    try:
        assert (str(made.site), str(made.site_out)) == ("L1.resid_mid", "L1.mlp_out")
        test = make_pairs(lengths=(16,) * 40, seed=5).clean
        found = mc.features.health(model, test, made)
        assert found["explained_variance"] > 0.6
        again = mc.features.load(model, tmp_path / "over", name="again")
        assert again.digest == made.digest
        assert type(saelens.sae_lens().SAE.load_from_disk(str(tmp_path / "over"))).__name__ == "Transcoder"
    finally:
        mc.features.detach(model, "over")


def trainer_of_sae_lens(ours):
    """Return the trainer of sae-lens with the same settings and weights, as its users would have it."""
    from sae_lens.training.sae_trainer import SAETrainer

    if ours.kind == "transcoder":  # sae-lens has none to train: ours, under its trainer and its optimizer
        sae = copy.deepcopy(ours.sae)
    else:
        sae = saelens.sae_lens().TrainingSAE.from_dict(ours.sae.cfg.to_dict())
        sae.load_state_dict(ours.sae.state_dict())
    return SAETrainer(cfg=ours.inner.cfg, sae=sae, data_provider=iter(()))


@pytest.mark.parametrize("kind", saelens.KINDS)
def test_training_is_that_of_sae_lens(kind, planted):
    """Step by step the same loss, and the same weights at the end, with features that die on the way."""
    x = planted[1]
    rest = {"width": 32, "width_out": None} if kind != "transcoder" else {"width": 20, "width_out": 12}
    ours = saelens.Trainer(
        kind=kind, n_features=96, k=3, price=0.5, rate=3e-3, steps=80, batch_size=128, seed=0, **rest
    )  # fmt: skip
    ours.start_from(x.mean(0)[-12:] if kind == "transcoder" else x.mean(0))
    theirs, dead = trainer_of_sae_lens(ours), []
    for batch in itertools.islice(Activations.of(x).batches(128, seed=0), 80):
        loss = ours.step(batch)
        expected = theirs.step(batch)
        theirs.n_training_steps += 1
        assert loss == pytest.approx(float(expected.losses["mse_loss"].detach()), rel=1e-4)
        assert ours.active == pytest.approx(float((expected.feature_acts > 0).sum(-1).float().mean()), abs=0.01)
        dead.append(int(theirs.dead_neurons.sum()))
    if kind in ("topk", "batchtopk", "matryoshka"):
        assert dead[0] == 0 < dead[-1]
    for name, weights in theirs.sae.state_dict().items():
        torch.testing.assert_close(ours.sae.state_dict()[name], weights, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("dead", [0, 3, 40, 90])
@pytest.mark.parametrize("k", [3, 20])
def test_a_step_of_topk_has_the_gradient_of_sae_lens(k, dead, planted):
    from sae_lens.saes.sae import TrainStepInput

    ours = saelens.Trainer(
        kind="topk", width=32, width_out=None, n_features=96, k=k, price=0, rate=1e-3, steps=9, batch_size=64, seed=0
    )  # fmt: skip
    theirs = trainer_of_sae_lens(ours)
    for sae in (ours.sae, theirs.sae):
        sae.double()
        sae.dtype = torch.float64
        for number, parameter in enumerate(sae.parameters()):
            draw = torch.Generator().manual_seed(number)
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    assert type(ours.sae) is not type(theirs.sae)
    told = TrainStepInput(planted[1][:64].double(), {}, torch.arange(96) < dead, 0, False)
    found, expected = (sae.training_forward_pass(told) for sae in (ours.sae, theirs.sae))
    assert torch.equal(found.feature_acts > 0, expected.feature_acts > 0)
    assert bool(expected.losses["auxiliary_reconstruction_loss"] > 0) == (dead > 0)
    for name, loss in expected.losses.items():
        torch.testing.assert_close(found.losses[name], loss)
    found.loss.backward()
    expected.loss.backward()
    for name, parameter in theirs.sae.named_parameters():
        torch.testing.assert_close(ours.sae.get_parameter(name).grad, parameter.grad, msg=name)


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(planted):
    model, (_, x) = loaded("gpt2"), planted
    before = torch.random.get_rng_state()
    options = {"width": 16, "k": 2, "tokens": 4096, "batch_size": 256}
    one, two, other = (mc.features.train(model, x, SITE, seed=seed, **options).digest for seed in (0, 0, 1))
    mc.features.detach(model, "topk")
    assert one == two != other
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("kind", saelens.KINDS)
def test_an_interrupted_training_ends_as_if_it_had_not_been(kind, planted, tmp_path, monkeypatch):
    """To the last bit, and long enough that features die after the interruption."""
    model, (_, x) = loaded("gpt2"), planted
    site, steps = SITE, 60
    options = {"width": 96, "kind": kind, "k": 3, "tokens": steps * 128, "batch_size": 128, "checkpoint_every": 7}
    if kind == "transcoder":
        site, options["site_out"] = "L1.resid_mid", "L1.mlp_out"
        x = harvest(model, make_pairs(lengths=(7,) * 40).clean, site, site_out="L1.mlp_out")
    whole = mc.features.train(model, x, site, out=tmp_path / "sae", name="sae", **options).digest
    step, calls = saelens.Trainer.step, []

    def interrupted(self, batch):
        calls.append(1)
        if len(calls) == 17:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(saelens.Trainer, "step", interrupted)
    out = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        mc.features.train(model, x, site, out=out, name="sae", **options)
    assert [path.name for path in out.iterdir()] == ["checkpoint"]
    assert [path.name for path in (out / "checkpoint").iterdir()] == ["00000014"]
    (out / "checkpoint" / "00000021").mkdir()  # one that was not finished is not gone on from
    with pytest.raises(DataError, match="checkpoint of another training"):
        mc.features.train(model, x, site, out=out, name="sae", **(options | {"rate": 1e-4}))
    assert mc.features.train(model, x, site, out=out, name="sae", **options).digest == whole
    assert len(calls) == 17 + steps - 14
    assert not (out / "checkpoint").exists()
    mc.features.detach(model, "sae")


def test_what_the_folder_remembers(gpt2, tmp_path):
    prompts = make_pairs(lengths=(7,) * 40).clean
    made = mc.features.train(
        gpt2, prompts, "L1.mlp_post", width=16, k=2, tokens=2048, batch_size=256, out=tmp_path / "one",
        remember={"why": "a test"},
    )  # fmt: skip
    try:
        facts = folder.read(tmp_path / "one").facts
        assert facts["site"] == "L1.mlp_post"
        assert facts["model_digest"] == weights_fingerprint(gpt2) == made.model_digest
        assert facts["data"]["prompts"] == prompts.hash
        assert (facts["recipe"]["kind"], facts["recipe"]["seed"], facts["why"]) == ("topk", 0, "a test")
        assert facts["training"]["steps"] == 8
        assert folder.read(tmp_path / "one").hook == "blocks.1.mlp.hook_post"
        assert json.loads((tmp_path / "one" / "cfg.json").read_text())["architecture"] == "topk"
        again = mc.features.load(gpt2, tmp_path / "one")
        assert again.digest == made.digest
    finally:
        mc.features.detach(gpt2, "one")


def test_cached_activations_give_the_same_dictionary(gpt2, tmp_path):
    prompts = make_pairs(lengths=(7,) * 40).clean
    options = {"width": 16, "k": 2, "tokens": 2048, "batch_size": 128}
    harvest(gpt2, prompts, SITE, out=tmp_path)
    digests = {
        mc.features.train(gpt2, data, SITE, **options).digest
        for data in (prompts, harvest(gpt2, prompts, SITE), tmp_path, Activations.open(tmp_path))
    }
    mc.features.detach(gpt2, "topk")
    assert len(digests) == 1


def test_a_dictionary_of_heads(gpt2):
    prompts = make_pairs(lengths=(7,) * 40).clean
    made = mc.features.train(gpt2, prompts, "L1.z", width=40, k=6, tokens=40_000, batch_size=128, rate=5e-3)
    try:
        read = forward(gpt2, prompts, read=[made.site, made.error]).read
        x, e = read[made.site], read[made.error]
        assert x.shape == e.shape == (40, 7, 4, 8)
        assert float(e.square().sum() / (x - x.mean((0, 1))).square().sum()) < 0.6
    finally:
        mc.features.detach(gpt2, "topk")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"kind": "topkk"}, ArgumentError, "did you mean 'topk'"),
        ({"kind": "transcoder"}, DataError, "has a site_out"),
        ({"site_out": "L1.mlp_out"}, DataError, "has a site_out"),
        ({"k": 99}, DataError, "more features than are active"),
        ({"tokens": 3}, DataError, "at least one step"),
        ({"site": "L7.resid_post"}, SiteError, "not in this model"),
        ({"name": "two words"}, SiteError, "not the name of a dictionary"),
        ({"data": torch.zeros(50, 30)}, DataError, "got 30 numbers a token; expected 32"),
        ({"data": torch.full((50, 32), float("nan"))}, NumericsError, "NaN"),
        ({"data": "nowhere"}, DataError, "holds no activations"),
    ],
)
def test_wrong_input_is_refused_before_training(gpt2, change, error, words, monkeypatch):
    monkeypatch.setattr(training, "Trainer", None)
    options = {"width": 16, "k": 2, "site": SITE, "data": torch.randn(50, 32)} | change
    with pytest.raises(error, match=words):
        mc.features.train(gpt2, options.pop("data"), options.pop("site"), **options)


@pytest.mark.parametrize("place", ["/proc/nothing/x", "file/d", "theirs", "full"])
def test_a_folder_that_cannot_be_written_is_found_before_training(gpt2, place, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "gathered", None)
    (tmp_path / "file").write_text("")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "cfg.json").write_text("{}")
    with small_files(4096 if place == "full" else 10**8), pytest.raises(MechcausalError) as caught:
        mc.features.train(gpt2, torch.randn(50, 32), SITE, width=40, k=2, out=tmp_path / place)
    words = {"theirs": "is not ours", "full": "File too large"}.get(place, "nothing can be written to")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
    assert (tmp_path / "theirs" / "cfg.json").read_text() == "{}"


def test_activations_of_something_else_are_refused(gpt2, llama, tmp_path):
    prompts = make_pairs().clean
    with pytest.raises(DataError, match=r"something else \(got site L0.resid_post"):
        mc.features.train(gpt2, harvest(gpt2, prompts, "L0.resid_post"), SITE, width=16, k=2)
    with pytest.raises(DataError, match="got model_digest"):
        mc.features.train(gpt2, harvest(llama, prompts, SITE), SITE, width=16, k=2)


def test_a_training_that_blows_up_says_so(gpt2):
    with pytest.raises(NumericsError, match="lower the rate"):
        mc.features.train(gpt2, torch.randn(64, 32), SITE, width=16, k=2, rate=1e30, tokens=640, batch_size=32)


def test_few_tokens_are_not_shown_for_ever(gpt2, monkeypatch):
    """As many steps as the cost says: a batch holds all tokens that there are."""
    shapes, step = [], saelens.Trainer.step
    monkeypatch.setattr(saelens.Trainer, "step", lambda self, batch: shapes.append(len(batch)) or step(self, batch))
    options = {"width": 8, "k": 2, "tokens": 20_000}
    prompts = make_pairs(lengths=(5, 6)).clean
    mc.features.train(gpt2, prompts, SITE, **options)
    mc.features.detach(gpt2, "topk")
    assert shapes == [11] * mc.features.train.cost(gpt2, prompts, SITE, **options).steps == [11] * 39


def test_a_disk_that_is_full_at_the_end_does_not_take_the_weights(gpt2, tmp_path, monkeypatch):
    """Neither the folder nor the temporary folder can be written: the dictionary is there, attached to the model."""
    step = saelens.Trainer.step
    options = {"width": 16, "k": 2, "tokens": 512, "batch_size": 128}
    x = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    whole = mc.features.train(gpt2, x, SITE, name="whole", **options).digest

    def full(self, batch):
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))  # only now: there was room when it began
        return step(self, batch)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(saelens.Trainer, "step", full)
    try:
        with pytest.raises(
            ResultError, match=r"could not be written.*make room.*attached to the model as 'sae'"
        ) as caught:
            mc.features.train(gpt2, x, SITE, out=tmp_path / "sae", **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(str(caught.value)) < 400
    assert mc.features.attached(gpt2)["sae"].digest == whole
    assert list(tmp_path.iterdir()) == []
    for name in ("sae", "whole"):
        mc.features.detach(gpt2, name)
