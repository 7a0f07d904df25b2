"""Texts that repeat, and texts that are shuffled."""

import mechcausal as mc
from mechcausal.inspection.repeats import repeated, shuffled


def test_tokens_come_twice_after_the_first():
    model = mc.load("organism:induction")
    prompts = repeated(model, n=3, length=3, seed=1)
    for row in prompts.real_tokens:
        assert row[0] == model.tokenizer.bos_token_id
        assert row[1:4] == row[4:]
    assert prompts.real_tokens == repeated(model, n=3, length=3, seed=1).real_tokens


def test_shuffled_texts_have_the_same_tokens():
    model = mc.load("organism:induction")
    prompts = mc.task("induction").prompts(model, 8)
    mixed = shuffled(prompts, 0)
    for before, after in zip(prompts.real_tokens, mixed.real_tokens, strict=True):
        assert before[0] == after[0]
        assert sorted(before) == sorted(after)
    assert mixed.real_tokens != prompts.real_tokens
    assert mixed.clusters == prompts.clusters
