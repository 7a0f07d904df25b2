"""The zoo: small random models, built once, and random pairs for them."""

from __future__ import annotations

from functools import cache

import torch
import transformers as hf

import mechcausal as mc
from mechcausal.data import Contrast, PromptSet, pad

VOCAB = 60
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 32, "initializer_range": 0.25, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GQA = {"num_key_value_heads": 2, "head_dim": 8}
EXPERTS = ("mixtral", "qwen3_moe")  # their MLPs are mixtures of experts
ARCHITECTURES = ("gpt2", "neox", "llama", "mistral", "qwen3", "gemma2", "opt", "bert", *EXPERTS)


def build(name):
    """Return a small random `transformers` model, large enough weights for effects that can be seen."""
    torch.manual_seed(0)
    model = {
        "gpt2": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(
                vocab_size=VOCAB, n_embd=32, n_layer=3, n_head=4, n_positions=32, initializer_range=0.25,
                bos_token_id=1, eos_token_id=2,
            )
        ),
        "neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SIZES)),
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, **GQA)),
        "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**SIZES, **GQA, sliding_window=4)),
        "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZES, **GQA)),
        "mixtral": lambda: hf.MixtralForCausalLM(
            hf.MixtralConfig(**SIZES, **GQA, num_local_experts=4, num_experts_per_tok=2)
        ),
        "qwen3_moe": lambda: hf.Qwen3MoeForCausalLM(
            hf.Qwen3MoeConfig(**SIZES, **GQA, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24)
        ),
        "gemma2": lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**SIZES, **GQA)),
        "opt": lambda: hf.OPTForCausalLM(
            hf.OPTConfig(
                vocab_size=VOCAB, hidden_size=32, ffn_dim=64, num_hidden_layers=3, num_attention_heads=4,
                max_position_embeddings=32, word_embed_proj_dim=32, init_std=0.25, pad_token_id=0,
            )
        ),
        "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**SIZES)),
    }[name]()  # fmt: skip
    model = model.eval()
    model.set_attn_implementation("eager")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


@cache
def bare(name):
    """Return the `transformers` model, never instrumented."""
    return build(name)


@cache
def references():
    """Return the logits of every bare model on `make_pairs().clean`, taken before any of them is wrapped.

    Wrapping one model may replace functions in the modules of `transformers` for the whole process.
    """
    tokens = make_pairs().clean.tokens
    return {name: bare(name)(tokens).logits for name in ARCHITECTURES}


@cache
def loaded(name):
    """Return the same model as a bridge, loaded once for the whole run."""
    references()
    return mc.load(bare(name))


def make_pairs(lengths=(7,) * 6, seed=0, side="right", changed=(1, 3), vocab=VOCAB):
    """Return random pairs of token rows that differ at the given positions."""
    generator = torch.Generator().manual_seed(seed)
    clean = [torch.randint(3, vocab, (length,), generator=generator).tolist() for length in lengths]
    corrupt = [[(t - 3 + 11) % (vocab - 3) + 3 if i in changed else t for i, t in enumerate(row)] for row in clean]
    n = len(clean)
    told = {"answer": torch.arange(n) % (vocab - 3) + 3, "foil": (torch.arange(n) + 20) % (vocab - 3) + 3, "side": side}
    return Contrast(
        PromptSet(*pad(clean, side=side), **told), PromptSet(*pad(corrupt, side=side), **told), "two tokens"
    )
