"""Generation, lenses, attention and heads on SmolLM2, against the plain transformers model with hooks written out here."""

import numpy as np
import pytest
import torch

import mechcausal as mc
from mechcausal.interventions import Add, Edit
from mechcausal.report.real_tour.indirect import chosen

pytestmark = pytest.mark.real

TEXTS = ["The nurse said that", "When Mary and John went to the store, John gave a drink to", "Water boils"]


def rows(written):
    return [row.tolist() for row in written.frame["tokens"]]


def left_padded(model):
    prompts = mc.PromptSet.from_text(model, TEXTS)
    return prompts.padded(int(prompts.lengths.max()), "left")


def test_the_text_is_that_of_transformers(smollm2, plain):
    left = left_padded(smollm2)
    theirs = plain.generate(
        left.tokens, attention_mask=left.mask.long(), max_new_tokens=12, do_sample=False, pad_token_id=2
    )[:, left.tokens.shape[1] :]
    written = mc.generate(smollm2, TEXTS, tokens=12)
    for ours, row in zip(rows(written), theirs.tolist(), strict=True):
        assert ours == row[: len(ours)]
    assert rows(mc.generate(smollm2, TEXTS, tokens=12, cache=False)) == rows(written)


def test_the_text_under_an_edit_is_that_of_hooks(smollm2, plain):
    vector = torch.randn(576, generator=torch.Generator().manual_seed(0)) * 2
    edits = [Edit.of("L15.resid_post", Add(tuple(vector.tolist())), when="both")]
    written = mc.generate(smollm2, TEXTS[:1], tokens=8, edits=edits)
    prompts = mc.PromptSet.from_text(smollm2, TEXTS[:1])
    handle = plain.model.layers[15].register_forward_hook(lambda module, args, out: out + vector)
    try:
        theirs = plain.generate(
            prompts.tokens,
            max_new_tokens=8,
            do_sample=False,
            pad_token_id=2,
            output_logits=True,
            return_dict_in_generate=True,
        )
    finally:
        handle.remove()
    new = theirs.sequences[0, prompts.tokens.shape[1] :].tolist()
    assert rows(written)[0] == new
    logprobs = [float(part[0].log_softmax(-1)[token]) for part, token in zip(theirs.logits, new, strict=True)]
    assert np.allclose(written.examples[0], logprobs, atol=1e-3)
    assert written.edits["forwards"].item() == len(new)


def test_a_lens_and_attention_are_those_of_transformers(smollm2, plain):
    prompts = mc.PromptSet.from_text(smollm2, TEXTS[1:2], answer=" Mary", foil=" John")
    out = plain(prompts.tokens, output_hidden_states=True, output_attentions=True)
    read = mc.lens(smollm2, prompts, at=-1, sites=["L20.resid_post", "L29.resid_post"])
    answer, foil = int(prompts.answer[0]), int(prompts.foil[0])
    early = plain.lm_head(plain.model.norm(out.hidden_states[21][0, -1]))
    for number, logits in enumerate((early, out.logits[0, -1])):
        assert read.examples[number, 0] == pytest.approx(float(logits[answer] - logits[foil]), abs=2e-3)
    seen = mc.attention(smollm2, prompts, heads="L23.z.H3").pattern("L23.pattern.H3").to_numpy()
    if out.attentions and out.attentions[23] is not None:
        assert np.allclose(seen, out.attentions[23][0, 3].numpy(), atol=1e-4)
    assert np.allclose(seen.sum(1), 1, atol=1e-4)


def test_known_heads_of_indirect_objects_come_out(smollm2):
    sweep = mc.patch(
        smollm2, mc.contrast("ioi", smollm2, n=16, seed=0), sites=[f"L{n}.z.H*" for n in (20, 23, 29)], at="@end"
    )
    carriers, against = chosen(sweep)
    assert carriers[0] == "L23.z.H3"
    assert "L29.z.H0" in against


def test_induction_heads_are_found_on_random_tokens(smollm2):
    seen = mc.attention(smollm2, mc.inspection.repeated(smollm2, n=4, length=16))
    best = seen.score("induction").iloc[0]
    assert best["value"] > 0.6
    assert best["change_low"] > 0.3
