"""Direct paths from a sender to one receiver, with the changes of the stream known in closed form.

What a sender adds to the stream is its readout of the change; what the unembedding makes of that needs no layer, and
what an MLP makes of it needs that MLP at the changed tokens and then the layers above.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mechcausal.address import Selection, Site
from mechcausal.arguments import Model
from mechcausal.data.prompts import PromptSet
from mechcausal.interventions.apply import view
from mechcausal.interventions.specs import Edit
from mechcausal.metrics import Metric
from mechcausal.models.abilities import Abilities
from mechcausal.models.plan import Economy
from mechcausal.models.replay.changes import Made
from mechcausal.models.replay.evaluate import Job
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.verify import Replayer, recorded

_SENDERS = ("embed", "z", "result", "attn_out", "mlp_post", "mlp_out")


def can_trace(engine: Replayer, senders: Sequence[Site], receivers: Sequence[Site]) -> str:
    """Return why paths from these senders to these receivers are left to the loop; empty where they are not."""
    if engine.twin is None:
        return next(iter(engine.reasons.values()), "its layers cannot be called")
    unknown = sorted({s.kind for s in senders if s.component not in _SENDERS or not engine.carries(s.kind)})
    if unknown:
        return f"no readout of {', '.join(unknown)}"
    if len(receivers) != 1 or receivers[0].component not in ("logits", "mlp_out"):
        return "only the unembedding and the MLP of one layer react without a forward"
    if receivers[0].component == "mlp_out" and not engine.carries("resid_mid"):
        return "its MLP is not known token by token"
    return ""


def trace(
    model: Model,
    able: Abilities,
    engine: Replayer,
    senders: Sequence[Edit],
    receiver: Site,
    at: Selection,
    batch: PromptSet,
    source: PromptSet,
    metric: Metric,
    compared: Tensor | None,
    *,
    dry: bool = False,
) -> tuple[np.ndarray, int, Economy]:
    """Return the metric of the path of each sender, [sender example], the forwards that were run, and the cost.

    Args:
        model: The bridge.
        able: What it can do.
        engine: What the engine can do on it.
        senders: What is patched, and where.
        receiver: The logits, or the `mlp_out` of a layer.
        at: Where the receiver reads the change and reacts.
        batch: The base prompts.
        source: The source prompts, row against row.
        metric: The metric.
        compared: The logits that a comparing metric compares with.
        dry: Whether the runs are only counted.
    """
    twin = engine.twin
    assert twin is not None  # `can_trace` has said so
    wholes = list(dict.fromkeys(edit.site.whole for edit in senders))
    through = receiver.layer  # the MLP that the change passes through; None where it goes to the unembedding
    around = [] if through is None else [Site("resid_mid", through), Site("mlp_out", through)]
    base, forwards = recorded(twin, batch, list(dict.fromkeys([*wholes, *around])))
    goal, more = recorded(twin, source, wholes)
    job = Job(twin, base, Meter(twin, batch, metric, compared, base.hidden[-1]))
    job.dry = dry
    felt = batch.select(at)
    layer = len(twin.layers) if through is None else through + 1

    def blocks() -> Iterator[Made]:
        for low in range(0, len(senders), job.block):
            some = senders[low : low + job.block]
            delta = base.hidden[0].new_zeros(len(some), *base.hidden[0].shape)
            for moved_stream, edit in zip(delta, some, strict=True):
                here = batch.select(edit.at) & felt
                change = (view(run.values[edit.site.whole], edit.site)[here] for run in (goal, base))
                contribution = twin.readouts.contribution(edit.site)
                moved_stream[here] = contribution(next(change) - next(change)).to(delta.dtype)
                if through is not None:
                    middle, out = (base.values[site][here] for site in around)
                    moved_stream[here] = twin.after_attention(through, middle + moved_stream[here]) - out
            moved = (delta != 0).any(-1)
            if layer == len(twin.layers) and job.decisive is not None:
                moved &= job.decisive
            yield Made([layer] * len(some), delta, moved)

    values = job.changed(blocks(), len(senders))
    reached = torch.stack([batch.select(edit.at).any(1) for edit in senders]).cpu().numpy()
    values[~reached] = np.nan
    return values, forwards + more, job.economy
