"""The facts about a run that provenance states: model, prompts, device and cost."""

from __future__ import annotations

import time
from typing import Any

import torch

from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.data.templates import undeclared_templates
from mechcausal.models import bridge
from mechcausal.models.condition import altered
from mechcausal.models.fingerprint import tokenizer_fingerprint, weights_fingerprint
from mechcausal.models.origin import origin_of


def facts(
    model: Any,  # noqa: ANN401 - a TransformerBridge
    prompts: PromptSet | Contrast,
    *,
    started: float,
    forwards: int,
    batch_size: int,
    **compute: Any,  # noqa: ANN401 - what else the method wants to state
) -> dict[str, Any]:
    """Return the `model`, `prompts` and `compute` of a `Provenance`.

    Args:
        model: The bridge.
        prompts: The prompts or pairs that the method was called with.
        started: `time.perf_counter()` when it began.
        forwards: The number of forwards it ran.
        batch_size: The batch size that fitted into memory.
        **compute: Further facts about the computation.
    """
    parameter = next(bridge.underlying(model).parameters())
    one_side = prompts.clean if isinstance(prompts, Contrast) else prompts
    templates = undeclared_templates(one_side)
    return {
        "model": {
            "name": str(model.cfg.model_name),
            "architecture": bridge.architecture_of(model),
            "weights": weights_fingerprint(model),
            "tokenizer": tokenizer_fingerprint(model.tokenizer),
            **origin_of(model).to_json(),
            **({"altered": changes} if (changes := altered(model)) else {}),
        },
        "prompts": {
            "name": getattr(prompts, "name", "own"),
            "hash": prompts.hash,
            "n": len(prompts),
            "n_clusters": one_side.n_clusters,
            **({"factor": prompts.factor} if isinstance(prompts, Contrast) else {}),
            **({"dropped": dict(prompts.dropped)} if isinstance(prompts, Contrast) and prompts.dropped else {}),
            **({"undeclared_templates": templates} if templates is not None else {}),
        },
        "compute": {
            "device": str(parameter.device),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "batch_size": batch_size,
            "forwards": forwards,
            "engine": "naive",
            **compute,
            "seconds": round(time.perf_counter() - started, 3),
        },
    }


def source_facts(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a model, or None
    """Return the facts about another model that makes the source run; an empty mapping if there is none."""
    if model is None:
        return {}
    return {"source_model": {"name": str(model.cfg.model_name), "weights": weights_fingerprint(model)}}
