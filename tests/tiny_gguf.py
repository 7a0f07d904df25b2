"""GGUF files of a few kilobytes, written by hand under the names and in the order of llama.cpp."""

import numpy as np
import torch
import transformers as hf

LETTERS = [*"abcdefghijklmnopqrstuvwxyz", "Ġ"]
PAIRS = ["t h", "th e", "Ġ a", "Ġ the", "i n"]  # merges of byte-pair encoding
TOKENS = ["<unk>", "<s>", "<|endoftext|>", *LETTERS, *(pair.replace(" ", "") for pair in PAIRS)]
HEADS, KV_HEADS, LAYERS, WIDTH, INNER = 4, 2, 2, 32, 64
NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def llama(tied=True):
    """Return a random Llama as transformers has it."""
    torch.manual_seed(4)
    config = hf.LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=64, rms_norm_eps=1e-5,
        initializer_range=0.25, rope_theta=10000.0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=tied,
        attn_implementation="eager",
    )  # fmt: skip
    model = hf.LlamaForCausalLM(config).eval().requires_grad_(False)
    for name, value in model.named_parameters():
        if "norm" in name:
            value.add_(0.2 * torch.randn_like(value))
    return model


def interleaved(weight, n_heads):
    """Put the rows of queries or keys into the order of llama.cpp, which rotates neighbors instead of halves."""
    halves = weight.reshape(n_heads, 2, weight.shape[0] // n_heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def named_tensors(model):
    """Return the tensors of a Llama by the names of llama.cpp."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    tensors = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    for layer in range(LAYERS):
        for ours, theirs in NAMES.items():
            value = state[f"model.layers.{layer}.{ours}.weight"]
            heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(theirs)
            tensors[f"blk.{layer}.{theirs}.weight"] = value if heads is None else interleaved(value, heads)
    if not model.config.tie_word_embeddings:
        tensors["output.weight"] = state["lm_head.weight"]
    return tensors


def write_gguf(path, model=None, *, architecture="llama", leave_out=(), vocabulary=True, extra=None, half=False):
    """Write a GGUF file of a Llama, and return its path."""
    import gguf

    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    for name, value in (extra or {}).items():
        writer.add_string(name, value) if isinstance(value, str) else writer.add_uint32(name, value)
    if vocabulary:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(TOKENS)
        writer.add_token_types([3] * 3 + [1] * (len(TOKENS) - 3))
        writer.add_token_merges(PAIRS)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
    for name, value in named_tensors(model or llama()).items():
        if name not in leave_out:
            writer.add_tensor(name, value.astype(np.float16) if half and value.ndim > 1 else value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
