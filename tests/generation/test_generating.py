"""Generation: the text of transformers, the same with and without a cache, and edits against hooks written out here."""

import numpy as np
import pytest
import torch
from saved import assert_kept
from zoo import ARCHITECTURES, bare, loaded, make_pairs

import mechcausal as mc
from mechcausal.errors import MechcausalError, UnsupportedError
from mechcausal.interventions import Add, Edit, Scale
from mechcausal.models.abilities import abilities

CAUSAL = [name for name in ARCHITECTURES if name != "bert"]
LENGTHS = (7, 5, 3)


def prompts(side="right"):
    return make_pairs(lengths=LENGTHS, side=side).clean


def vector(seed=0, scale=2.0):
    return tuple((torch.randn(32, generator=torch.Generator().manual_seed(seed)) * scale).tolist())


def tokens_of(written):
    return [row.tolist() for row in written.frame["tokens"]]


@pytest.mark.parametrize("name", CAUSAL)
def test_without_edits_it_is_the_text_of_transformers(name):
    left = prompts("left")
    theirs = bare(name).generate(
        left.tokens, attention_mask=left.mask.long(), max_new_tokens=6, do_sample=False, pad_token_id=0
    )[:, left.tokens.shape[1] :]
    written = mc.generate(loaded(name), prompts(), tokens=6)
    assert written.provenance.compute["engine"] == "cached, without the bridge"
    for ours, row, ended in zip(tokens_of(written), theirs.tolist(), written.frame["ended"], strict=True):
        assert ours == row[: len(ours)]
        assert ended == ("end of text" if ours[-1] == 2 else "length")
        assert row[len(ours) :] == [0] * (len(row) - len(ours))


EDITS = {
    "stream": [Edit.of("L1.resid_post", Add(vector()))],
    "stream, prompt only": [Edit.of("L1.resid_pre", Add(vector()), "@-1")],
    "stream, new only": [Edit.of("L0.resid_post", Add(vector()), when="new")],
    "a head, a key and an MLP": [
        Edit.of("L1.z.H1", "zero"), Edit.of("L0.k.H0", Scale(0.5), "@1:", "both"), Edit.of("L2.mlp_out", "zero", when="new"),
    ],
    "values in the prompt": [Edit.of("L1.v", "zero", "@0", "prompt"), Edit.of("L2.q.H1", Scale(2.0))],
    "attention": [Edit.of("L1.pattern.H2", Scale(0.0))],
    "mean": [Edit.of("L1.z.H1", "mean"), Edit.of("L0.mlp_out", "mean", when="new")],
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSAL)
def test_with_a_cache_it_is_the_text_without(name):
    model = loaded(name)
    plain = mc.generate(model, prompts(), tokens=3).examples
    changed = 0
    able = abilities(model).components
    for edits in EDITS.values():
        if not all(able[edit.site.component].writes for edit in edits):
            continue
        given = {"tokens": 3, "edits": edits, "reference": prompts()}
        cached, whole = (mc.generate(model, prompts(), cache=cache, **given) for cache in (True, False))
        assert tokens_of(cached) == tokens_of(whole)
        assert np.nanmax(np.abs(cached.examples - whole.examples)) < 1e-3
        assert cached.provenance.compute["engine"].startswith("cached")
        assert cached.edits["positions"].tolist() == whole.edits["positions"].tolist()
        changed += (
            cached.examples.shape != plain.shape or np.nanmax(np.abs(cached.examples[:, :1] - plain[:, :1])) > 1e-3
        )
    assert changed >= 4


LAYERS = {
    "gpt2": lambda model: model.transformer.h, "llama": lambda model: model.model.layers,
    "neox": lambda model: model.gpt_neox.layers, "gemma2": lambda model: model.model.layers,
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("when", ["prompt", "new", "both"])
def test_an_edit_is_that_of_hooks_on_the_plain_model(name, when):
    plain, added = bare(name), torch.tensor(vector())
    written = mc.generate(
        loaded(name), prompts().take([0]), tokens=5, edits=[Edit.of("L1.resid_post", Add(vector()), when=when)]
    )
    text, n = prompts().take([0]).tokens, LENGTHS[0]

    def hook(module, args, out):
        where = torch.zeros(text.shape[1], 1)
        where[:n] = float(when != "new")
        where[n:] = float(when != "prompt")
        stream = out[0] if isinstance(out, tuple) else out
        new = stream + added * where
        return (new, *out[1:]) if isinstance(out, tuple) else new

    handle = LAYERS[name](plain)[1].register_forward_hook(hook)
    logprobs = []
    try:
        for token in tokens_of(written)[0]:
            last = plain(text, use_cache=False).logits[0, -1].log_softmax(-1)
            assert int(last.argmax()) == token
            logprobs.append(float(last[token]))
            text = torch.cat([text, torch.tensor([[token]])], dim=1)
    finally:
        handle.remove()
    assert np.allclose(written.examples[0], logprobs, atol=1e-4)
    steps = len(logprobs)
    assert written.edits["forwards"].item() == {"prompt": 1, "new": steps - 1, "both": steps}[when]
    assert written.edits["positions"].item() == {"prompt": n, "new": steps - 1, "both": n + steps - 1}[when]


def test_sampling_depends_on_the_seed_and_not_on_the_batch():
    model = loaded("llama")
    given = {"tokens": 5, "temperature": 1.0, "samples": 3}
    first = mc.generate(model, prompts(), seed=1, **given)
    assert tokens_of(first) == tokens_of(mc.generate(model, prompts(), seed=1, batch_size=1, cache=False, **given))
    assert tokens_of(first) != tokens_of(mc.generate(model, prompts(), seed=2, **given))
    alone = mc.generate(model, prompts(), tokens=5, temperature=1.0, seed=1)
    assert tokens_of(alone) == tokens_of(first)[::3]
    greedy = mc.generate(model, prompts(), tokens=5)
    for narrow in ({"top_k": 1}, {"top_p": 0.0}, {"temperature": 1e-4}):
        assert tokens_of(mc.generate(model, prompts(), **{"tokens": 5, "temperature": 1.0} | narrow)) == tokens_of(
            greedy
        )


def test_the_end_of_text_and_stop(hiring):
    text = "red blue gold white blue gray red"
    model = mc.load("organism:induction")
    long = mc.generate(model, text, tokens=1)
    assert long.frame["ended"].item() == "length"
    stopped = mc.generate(model, text, tokens=1, stop="lu")
    assert stopped.frame["ended"].item() == "stop"
    assert stopped.texts == ["b"]
    assert stopped.frame["n_tokens"].item() == 1
    for name in CAUSAL:
        written = mc.generate(loaded(name), prompts(), tokens=20)
        for row, ended in zip(tokens_of(written), written.frame["ended"], strict=True):
            assert (2 in row) == (ended == "end of text")
            assert 2 not in row[:-1]


def test_organisms_of_transformer_lens_write_without_a_cache():
    model = mc.load("organism:by_hand")
    written = mc.generate(model, mc.contrast("by_hand/gender", model, n=4).clean, tokens=1)
    assert written.provenance.compute["engine"] == "naive"
    assert "keeps no keys" in written.provenance.compute["no_cache_because"]


def test_a_masked_model_cannot_write():
    with pytest.raises(UnsupportedError, match="sees later tokens"):
        mc.generate(loaded("bert"), prompts(), tokens=2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tokens": 40}, "do not fit into the model's context"),
        ({"edits": ["{"]}, "an edit cannot be read"),
        ({"edits": [{"do": "zero"}]}, "this is not an edit"),
        ({"edits": [{"site": "L9.z", "do": "zero"}]}, "layer 9"),
        ({"edits": [{"site": "L1.z", "do": "zero", "when": "nwe"}]}, "did you mean 'new'"),
        ({"edits": [{"site": "L1.resid_post", "do": "add", "direction": "none.safetensors"}]}, "no direction file"),
        ({"edits": [{"site": "L1.resid_post", "do": "zero", "direction": [1.0]}]}, "takes no direction"),
        ({"edits": [{"site": "L1.resid_post", "do": "add", "direction": [1.0]}]}, "wrong length"),
        ({"edits": [Edit.of("L1.z", "patch")]}, "activations of another prompt"),
        ({"edits": [Edit.of("L1.z", "mean")]}, "needs prompts to take the mean of"),
        ({"edits": [Edit.of("L1.z", "zero", "@20")]}, "no prompt has the position"),
        ({"stop": [""]}, "none of them empty"),
        ({"temperature": -1}, "at least 0"),
    ],
)
def test_bad_input_is_one_sentence(given, said):
    with pytest.raises(MechcausalError, match=said):
        mc.generate(loaded("gpt2"), prompts(), **{"tokens": 2} | given)


def test_it_is_kept_and_costed(tmp_path):
    model = loaded("gpt2")
    written = mc.generate(model, prompts(), tokens=3, edits=EDITS["stream"])
    assert_kept(written, tmp_path / "written.parquet")
    assert "fired in" in written.summary()
    cost = mc.generate.cost(model, prompts(), tokens=3)
    assert cost.cells == 3
    assert cost.forwards < cost.naive_forwards
    spec = mc.methods.Generating(edits=EDITS["stream"], stop="a")
    assert mc.methods.read(spec.to_json()) == spec
