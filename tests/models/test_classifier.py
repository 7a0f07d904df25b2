"""Classifiers and reward models say what plain transformers says, and can be patched."""

import pytest
import torch
import transformers as hf
from classifiers import classifier, named, rewarding
from zoo import SIZES, make_pairs

import mechcausal as mc
from mechcausal.data import PromptSet
from mechcausal.errors import ModelError, UnsupportedError
from mechcausal.models import bridge
from mechcausal.models.classifier import head_of
from mechcausal.models.hooked import forward


def made(name):
    torch.manual_seed(0)
    match name:
        case "bert":
            return classifier()
        case "three":
            return classifier(("a", "b", "c"))
        case "gpt2":
            config = hf.GPT2Config(
                n_layer=2, n_head=4, n_embd=32, vocab_size=SIZES["vocab_size"], n_positions=64, **named()
            )
            return hf.GPT2ForSequenceClassification(config).eval()
        case "reward":
            return rewarding()


@pytest.fixture(scope="module", params=["bert", "gpt2", "reward"])
def plain(request):
    return made(request.param)


@pytest.fixture(scope="module", params=["object", "folder"])
def model(request, plain, tmp_path_factory):
    if request.param == "object":
        return mc.load(plain)
    folder = tmp_path_factory.mktemp("classifier")
    plain.save_pretrained(folder)
    return mc.load(folder)


def prompts(side="right"):
    tokens = make_pairs().clean.tokens[:3]
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, -2:] = False
    mask[2, -1:] = False
    if side == "left":
        tokens, mask = (
            torch.stack([row.roll(n) for row, n in zip(part, (0, 2, 1), strict=True)]) for part in (tokens, mask)
        )
    return PromptSet(tokens, mask, side=side)


def alone(plain, batch):
    """Return what the classifier says of each prompt run by itself."""
    rows = [torch.tensor([ids]) for ids in batch.real_tokens]
    with torch.no_grad():
        return torch.cat([plain(row).logits for row in rows])


@pytest.mark.parametrize("side", ["right", "left"])
def test_it_says_what_plain_transformers_says(plain, model, side):
    batch = prompts(side)
    if side == "left" and type(plain).__name__.startswith(("Bert", "GPT2")):
        batch = prompts().take([0, 1, 2])  # positions are absolute there: padding on the left is another text
    with torch.no_grad():
        said = head_of(model)(forward(model, batch).output, batch)
    torch.testing.assert_close(said, alone(plain, batch), atol=1e-4, rtol=1e-4)


def test_its_outcome_is_a_metric(plain, model):
    batch = prompts()
    metric = mc.outcome(model)
    expected = alone(plain, batch)
    wanted = expected[:, 0] if expected.shape[1] == 1 else expected[:, 1] - expected[:, 0]
    measured = mc.measure(model, batch, metric)
    assert measured.examples[0] == pytest.approx(wanted.numpy(), abs=1e-4)
    assert metric.name in ("reward", "log-odds of toxic", "log-odds of LABEL_1")


def test_it_can_be_patched(plain, model):
    """At the last layer's stream everywhere nothing of the base prompt is left."""
    pairs = make_pairs()
    result = mc.patch(model, pairs, sites="L1.resid_post", at="all", metric=mc.outcome(model))
    assert result.frame["effect"].item() == pytest.approx(1.0, abs=1e-3)
    sweep = mc.patch(model, pairs, sites="z", at="all", metric=mc.outcome(model))
    assert sweep.frame["change"].abs().max() > 0


def test_one_label_of_three():
    plain = made("three")
    model = mc.load(plain)
    batch = prompts()
    logits = alone(plain, batch)
    said = mc.measure(model, batch, mc.outcome(model, "b")).examples[0]
    wanted = logits[:, 1] - logits[:, [0, 2]].logsumexp(1)
    assert said == pytest.approx(wanted.numpy(), abs=1e-4)
    with pytest.raises(UnsupportedError, match="has 3 labels"):
        mc.outcome(model)
    with pytest.raises(UnsupportedError, match=r"did you mean|use one of"):
        mc.outcome(model, "bb")


def test_the_object_stays_as_it_was_and_a_copy_keeps_the_head():
    plain = made("bert")
    before = plain(make_pairs().clean.tokens).logits
    model = mc.load(plain)
    assert torch.equal(plain(make_pairs().clean.tokens).logits, before)
    twin = bridge.copied(model)
    assert head_of(twin) is not head_of(model)
    assert head_of(twin).digest == head_of(model).digest
    assert head_of(mc.load(made("gpt2"))).digest != head_of(model).digest


def test_what_is_no_classifier(by_hand):
    assert head_of(by_hand) is None
    with pytest.raises(UnsupportedError, match="is no classifier"):
        mc.outcome(by_hand)
    with pytest.raises(UnsupportedError, match="has no labels"):
        mc.outcome(mc.load(made("reward")), "x")


def test_a_classifier_whose_head_is_not_there_is_refused(tmp_path):
    plain = made("bert")
    kept = {name: value for name, value in plain.state_dict().items() if not name.startswith("classifier")}
    plain.save_pretrained(tmp_path, state_dict=kept)
    with pytest.raises(ModelError, match=r"classifier\.weight"):
        mc.load(tmp_path)
