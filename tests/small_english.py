"""A small random Llama with a tokenizer that knows the words of the suites that ship: what a real model would be run on."""

from __future__ import annotations

from functools import cache

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import mechcausal as mc
from mechcausal.data.suites.published import shipped
from mechcausal.data.suites.written import INDIRECT, NAMES, SHOPS, THINGS
from mechcausal.report.real_tour.dosing import ASK, NOUNS, SENTENCES_OF
from mechcausal.steering.neutral import SENTENCES


def corpus():
    words = [*NAMES, *SHOPS, *THINGS, *(noun for pair in NOUNS for noun in pair), "she", "he", "woman", "man"]
    words += [row["profession"] for row in shipped("professions")]
    lines = [*SENTENCES, *INDIRECT, *SENTENCES_OF, ASK]
    return [f"The {word} {word} {word}" for word in words] * 4 + lines


def tokenizer():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        corpus(), trainers.BpeTrainer(vocab_size=2500, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    )
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="</s>")


@cache
def small_english():
    """Return the model, loaded once."""
    torch.manual_seed(0)
    read = tokenizer()
    config = hf.LlamaConfig(
        vocab_size=len(read), hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, initializer_range=0.25, bos_token_id=0, eos_token_id=1,
        pad_token_id=1,
    )  # fmt: skip
    model = hf.LlamaForCausalLM(config).eval()
    model.set_attn_implementation("eager")
    return mc.load(model, tokenizer=read)
