"""What recipes of adapters share: frozen layers computed once give the same model, and what is saved is what was trained."""

import copy
import json

import pytest
import torch
from words import words_tokenizer
from zoo import bare, build

from mechcausal.errors import DataError, ModelError
from mechcausal.models.adapters import Adapter
from mechcausal.models.fingerprint import module_fingerprint
from mechcausal.recipes.adapting import (
    Adapting,
    Student,
    batches,
    descend,
    described,
    encoded,
    surprise,
    text_digest,
    write_rows,
)

TEXTS = ["w5 w6 w7 w8 w9", "w11 w12", "w20 w30 w40 w50"]
ADAPTING = Adapting((1, 3), ("q_proj", "down_proj"), rank=2, alpha=6)


@pytest.fixture
def student():
    return Student(build("llama"), words_tokenizer(), ADAPTING, seed=4)


def logits_of(module, tokens):
    with torch.no_grad():
        return module(tokens).logits


def disturb(student):
    """Give all low-rank maps random weights."""
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in student.parameters:
            weight.copy_(torch.randn_like(weight) / 4)


def test_at_first_nothing_changes_and_four_maps_are_adapted(student):
    tokens, _ = student.tokens(TEXTS)
    torch.testing.assert_close(logits_of(student.module, tokens), logits_of(bare("llama"), tokens))
    assert [name.split(".", 2)[2] for name in student.maps] == [
        "1.self_attn.q_proj", "1.mlp.down_proj", "2.self_attn.q_proj", "2.mlp.down_proj",
    ]  # fmt: skip
    assert len(student.parameters) == 8


def test_below_and_above_are_the_model(student):
    disturb(student)
    tokens, _ = student.tokens(TEXTS)
    with torch.no_grad():
        halves = student.logits(student.above(student.below(tokens, batch=2)))
    torch.testing.assert_close(halves, logits_of(student.module, tokens), atol=1e-5, rtol=1e-5)
    assert (halves - logits_of(bare("llama"), tokens)).abs().max() > 0.1
    with student.without():
        torch.testing.assert_close(logits_of(student.module, tokens), logits_of(bare("llama"), tokens))


def test_what_is_saved_and_merged_is_what_was_trained(student, tmp_path):
    disturb(student)
    digest = module_fingerprint(bare("llama"))
    student.save(tmp_path, base="small", digest=digest)
    tokens, _ = student.tokens(TEXTS)
    module = build("llama")
    adapter = Adapter.read(tmp_path)
    adapter.merge(module)
    torch.testing.assert_close(logits_of(module, tokens), logits_of(student.module, tokens), atol=2e-2, rtol=2e-2)
    assert (adapter.base, adapter.layers) == (digest, [1, 2])
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == ("small", 2, 6)
    about = described("mine", bare("llama"), tmp_path, ADAPTING)
    assert about["base"] == {"name": "smollm2", "weights": digest}
    assert about["adapter"]["file"] == adapter.digest
    assert about["adapter"]["parameters"] == sum(weight.numel() for weight in student.parameters)
    with pytest.raises(ModelError, match="was trained on other weights"):
        adapter.merge(module)


def test_peft_computes_the_same_from_the_files(student, tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    disturb(student)
    student.save(tmp_path)
    tokens, _ = student.tokens(TEXTS)
    theirs = logits_of(peft.PeftModel.from_pretrained(build("llama"), tmp_path), tokens)
    torch.testing.assert_close(theirs, logits_of(student.module, tokens), atol=2e-2, rtol=2e-2)


def test_texts_begin_with_bos_and_end_where_they_end():
    tokenizer = words_tokenizer()
    tokens, lengths = encoded(tokenizer, TEXTS)
    assert lengths.tolist() == [6, 3, 5]
    assert tokens[1].tolist() == [1, 11, 12, 2, 2, 2]


def test_surprise_by_hand():
    module, tokenizer = bare("llama"), words_tokenizer()
    total, n = 0.0, 0
    for text in TEXTS:
        tokens, _ = encoded(tokenizer, [text])
        odds = logits_of(module, tokens)[0, :-1].log_softmax(-1)
        total -= float(odds.gather(1, tokens[0, 1:, None]).sum())
        n += tokens.shape[1] - 1
    assert surprise(module, tokenizer, TEXTS, batch=2) == pytest.approx(total / n, rel=1e-5)


def test_training_lowers_a_loss_and_changes_nothing_that_is_frozen(student):
    tokens, lengths = student.tokens(TEXTS)
    streams, frozen = student.below(tokens), module_fingerprint(build("llama"))
    seen = []

    def losses(steps):
        for _ in range(steps):
            logits = student.logits(student.above(streams))[torch.arange(3), lengths - 1]
            yield -logits.log_softmax(-1)[:, 7].mean()

    descend(student.parameters, losses(40), 40, rate=3e-2, warm=5, say=lambda step, loss: seen.append((step, loss)))
    assert [step for step, _ in seen] == list(range(40))
    assert seen[-1][1] < 0.2 * seen[0][1]
    with student.without():
        plain = copy.deepcopy(student.module)
    for name in student.maps:
        plain.set_submodule(name, plain.get_submodule(name).base)
    assert module_fingerprint(plain) == frozen


def test_batches_take_every_text_before_any_again():
    drawn = torch.cat(list(batches(10, 5, 4, seed=1)))
    assert sorted(drawn[:10].tolist()) == sorted(drawn[10:].tolist()) == list(range(10))
    assert torch.equal(drawn, torch.cat(list(batches(10, 5, 4, seed=1))))
    with pytest.raises(DataError, match=r"a batch cannot be larger than the set of texts .got 5; expected at most 3"):
        next(batches(3, 5, 1, seed=0))


def test_rows_and_digests(tmp_path):
    write_rows([{"a": 1}, {"a": 2}], tmp_path / "rows.jsonl")
    assert [json.loads(line)["a"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == [1, 2]
    assert text_digest(["a", "b"]) == text_digest(["a", "b"]) != text_digest(["b", "a"])
