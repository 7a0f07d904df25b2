"""The configuration of a legacy checkpoint: which entries there are, and what each may be.

One table says both. An entry that nobody knows, or that is of another kind, would otherwise be left out without a word:
a model whose `attention_dir` is misspelt attends in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from mechcausal.errors import ModelError, did_you_mean, shortened

Config = Mapping[str, Any]
Kind = tuple[str, Callable[[Any], bool]]  # what it must be, in words, and whether a value is that


def _whole(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, Integral) and not isinstance(value, bool)


def _number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _among(*words: str) -> Kind:
    return " or ".join(map(repr, words)), lambda value: isinstance(value, str) and value in words


_SIZE: Kind = "a whole number above 0", lambda value: _whole(value) and value > 0
_SIZE_OR_UNSET: Kind = "a whole number above 0, or -1", lambda value: _whole(value) and (value > 0 or value == -1)
_SCALE: Kind = "a number above 0, or -1", lambda value: _number(value) and (value > 0 or value == -1)
_SMALL: Kind = "a number above 0 and below 1", lambda value: _number(value) and 0 < value < 1
_FLAG: Kind = "True or False", lambda value: isinstance(value, bool | np.bool_)
_TEXT: Kind = "a text", lambda value: isinstance(value, str)
_SWITCH: Kind = "True, False or a number", lambda value: isinstance(value, bool | np.bool_) or _number(value)
_ANY: Kind = "anything", lambda value: True

# What the native model is told.
KEPT: dict[str, Kind] = {
    **dict.fromkeys(("n_layers", "d_model", "n_ctx", "d_head", "n_heads", "d_mlp", "d_vocab"), _SIZE),
    "d_vocab_out": _SIZE_OR_UNSET,
    "act_fn": _TEXT,
    "eps": _SMALL,
    "normalization_type": _among("LN", "LNPre", "RMS", "RMSPre"),
    "attn_only": _FLAG,
    "attention_dir": _among("causal", "bidirectional"),
    "final_rms": _FLAG,
    "default_prepend_bos": _FLAG,
}
# What is read here.
_READ: dict[str, Kind] = {
    "use_attn_scale": _FLAG,
    "attn_scale": _SCALE,
    "positional_embedding_type": _TEXT,
    "n_key_value_heads": _SIZE_OR_UNSET,
}
# What changes how a model computes, and is not translated.
REFUSED = {
    "use_local_attn": "local attention",
    "gated_mlp": "gated MLPs",
    "parallel_attn_mlp": "parallel blocks",
    "scale_attn_by_inverse_layer_idx": "attention scaled by layer",
    "attn_scores_soft_cap": "soft-capped scores",
    "output_logits_soft_cap": "soft-capped logits",
    "num_experts": "a mixture of experts",
    "post_embedding_ln": "a norm behind the embedding",
    "use_normalization_before_and_after": "norms behind sublayers",
    "use_qk_norm": "norms of queries and keys",
    "use_attention_sinks": "attention sinks",
    "use_logn_attn": "attention scaled by length",
    "clip_qkv": "clipped queries and keys",
}
# Of the others these say how a model was made, how it is watched, or what the refused would need.
_WITHOUT_EFFECT = (
    "attn_types", "checkpoint_index", "checkpoint_label_type", "checkpoint_value", "decoder_start_token_id",
    "device", "dtype", "experts_per_token", "from_checkpoint", "init_mode", "init_weights", "initializer_range",
    "layer_norm_folding", "load_in_4bit", "model_name", "n_devices", "n_params", "norm_topk_prob",
    "original_architecture", "quantization_method", "relative_attention_max_distance",
    "relative_attention_num_buckets", "seed", "tie_word_embeddings", "tokenizer_name", "tokenizer_prepends_bos",
    "train_seq_length", "trust_remote_code", "ungroup_grouped_query_attention", "use_attn_in", "use_attn_result",
    "use_hook_mlp_in", "use_hook_tokens", "use_split_qkv_input", "uses_rms_norm", "window_size",
    # of rotary positions, which are refused
    "rotary_dim", "rotary_base", "rotary_base_local", "rotary_scaling_factor", "rotary_adjacent_pairs",
    "use_dynamic_ntk_rope", "use_NTK_by_parts_rope", "NTK_by_parts_low_freq_factor", "NTK_by_parts_high_freq_factor",
    "NTK_by_parts_factor", "NTK_original_ctx_len", "use_yarn_rope", "yarn_factor", "yarn_attention_factor",
    "yarn_beta_fast", "yarn_beta_slow", "yarn_original_max_position_embeddings", "yarn_truncate",
    "yarn_global_attn_only",
)  # fmt: skip
ENTRIES: dict[str, Kind] = {
    **KEPT, **_READ, **dict.fromkeys(REFUSED, _SWITCH), **dict.fromkeys(_WITHOUT_EFFECT, _ANY),
}  # fmt: skip


def check_config(config: Config) -> None:
    """Refuse a configuration with entries that there are not, or whose values are of another kind; None is not stated."""
    wrong = [
        f"{key} is {shortened(repr(value), 20)}, not {ENTRIES[key][0]}"
        for key, value in config.items()
        if key in ENTRIES and value is not None and not ENTRIES[key][1](value)
    ]
    problems = [*_unknown([key for key in config if key not in ENTRIES]), *wrong[:3]]
    problems += [f"and {len(wrong) - 3} more"] if wrong[3:] else []
    if problems:
        raise ModelError(f"the configuration of this legacy checkpoint is wrong: {'; '.join(problems)}")


def _unknown(keys: list[Any]) -> list[str]:
    if not keys:
        return []
    guess = did_you_mean(keys[0], [word for word in ENTRIES if "yarn" not in word])  # which is like too many words
    first = f"no entry is called {shortened(str(keys[0]), 30)!r}{f' ({guess})' if guess.endswith('?') else ''}"
    return [first, f"nor {some(keys[1:])}"] if keys[1:] else [first]


def some(names: list[Any]) -> str:
    """Return the first two of some names, and how many more there are."""
    more = len(names) - 2
    return ", ".join(shortened(str(name), 50) for name in names[:2]) + (f" and {more} more" if more > 0 else "")
