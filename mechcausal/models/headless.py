"""Models without a language-model head: encoders, and decoders whose head was not saved.

They load as what they are. Sites, probes, dictionaries and metrics of your own work as with every model; where a model
with a head gives logits, this one gives its last hidden state, and whatever needs logits is refused.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from mechcausal.errors import UnsupportedError
from mechcausal.models.bridge import NoHead

_log = logging.getLogger(__name__)


def without_head(module: Any) -> Any:  # noqa: ANN401 - a transformers model
    """Take the head off a model, in place: it then returns its last hidden state as its logits."""
    for name, _ in list(module.named_children()):
        if name != module.base_model_prefix:
            setattr(module, name, NoHead())
    if getattr(module.config, "final_logit_softcapping", None) is not None:
        module.config.final_logit_softcapping = None  # it is for logits
    _log.warning("%s has no language-model head: it gives hidden states and no logits", type(module).__name__)
    return module


def is_base(module: Any) -> bool:  # noqa: ANN401
    """Say whether a model is a base model such as `BertModel`, which ends before the head."""
    if not getattr(module, "base_model_prefix", "") or getattr(module, "base_model", None) is not module:
        return False
    return type(module) is not head_class(module.config)


def around(base: Any) -> Any:  # noqa: ANN401
    """Return a model around a base model such as `BertModel`: with a head that is tied to its embedding, or with none."""
    cls = head_class(base.config)
    if cls is None:
        raise UnsupportedError(
            f"{type(base).__name__} is no language model", fix="load a decoder or an encoder of text"
        )
    with torch.device("meta"):
        module: Any = cls(base.config)
    if getattr(base, "pooler", None) is not None:
        base.pooler = None  # it reads the first position's last state, and no site
    setattr(module, module.base_model_prefix, base)
    module.tie_weights()
    return without_head(module) if own_of_head(module) else module


def head_class(config: Any) -> type[nn.Module] | None:  # noqa: ANN401
    """Return the class of the language model with this configuration: masked where it reads both ways, else causal."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    masked = MODEL_FOR_MASKED_LM_MAPPING.get(type(config), None)
    causal = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    head = (masked or causal) if reads_both_ways(config) else causal
    return head[0] if isinstance(head, tuple) else head


def reads_both_ways(config: Any) -> bool:  # noqa: ANN401
    """Say whether a configuration is of an encoder. Its file names a class; where it names none, its kind decides."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    classes = config.architectures or []
    if any(name.endswith("ForMaskedLM") for name in classes):
        return True
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in classes):
        return False
    return type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)


def own_of_head(module: Any) -> list[str]:  # noqa: ANN401
    """Return the parameters of the head that are its own and not those of the embedding."""
    inside = {id(parameter) for parameter in module.base_model.parameters()}
    prefix = f"{module.base_model_prefix}."
    return [
        name
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if not name.startswith(prefix) and id(parameter) not in inside
    ]
