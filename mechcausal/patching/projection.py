"""Direct logit attribution: what each head and MLP adds to the log-odds, the final norm frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mechcausal.address import Place, Site
from mechcausal.arguments import Count, Model
from mechcausal.data.contrast import Contrast
from mechcausal.data.prompts import PromptSet
from mechcausal.errors import DataError, UnsupportedError
from mechcausal.method import Cost, Method, function
from mechcausal.metrics import METRICS
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities, abilities
from mechcausal.models.engine import in_batches
from mechcausal.models.hooked import forward
from mechcausal.models.readout import Readouts
from mechcausal.models.replay.verify import replayer
from mechcausal.patching.activation import Direction
from mechcausal.patching.sweep import Recorder, two_sides
from mechcausal.results.result import Result

_EXACT = 2e-3  # how far the parts may be from the whole, as a share of the logits


@dataclass(frozen=True, kw_only=True)
class DirectAttributing(Method[PromptSet | Contrast, Result]):
    """Split the log-odds of answer against foil into what each part of the model adds to them directly.

    Estimand: the projection of each part of the last residual stream at the read position (the embedding, each head
    through its share of the output matrix, each MLP) onto the direction of answer minus foil, with the scale of the final
    norm frozen as it is in this run (Elhage et al. 2021; Wang et al. 2022). It is linear: with prompts, the rows add
    up to the logit difference exactly, before a soft cap where the model has one. `rest` is what attention adds beside
    its heads (biases), and `bias` is what the final norm and the unembedding add to any stream. With pairs, `change` is
    the projection of the difference of the two runs, the norm frozen at the base run: the linear estimate of
    `path_patch(..., receivers="logits")`, which lets the norm react; `effect` reads as there. 0 is no direct
    contribution, negative speaks for the foil.

    Attributes:
        direction: With pairs, `"denoise"` (base corrupt, source clean) or `"noise"`; prompts alone have no direction.
        batch_size: How many prompts at a time.

    Example:
        >>> import mechcausal as mc
        >>> model = mc.load("organism:hiring")
        >>> pairs = mc.contrast("hiring/gender", model, n=8)
        >>> parts = mc.direct_logit_attribution(model, pairs.clean)
        >>> whole = mc.measure(model, pairs.clean, "logit_diff")
        >>> bool(abs(parts.frame["change"].sum() - whole.value()) < 1e-3)
        True
    """

    word: ClassVar[str] = "direct_logit_attribution"
    direction: Direction = "denoise"
    batch_size: Count = 64

    def run(self, model: Model, data: PromptSet | Contrast) -> Result:
        """Split the log-odds."""
        recorder = Recorder(model, data, METRICS["logit_diff"], self.word, {"direction": self.direction})
        if any(side.answer is None for side in recorder.sides.values()):
            raise DataError(
                "the logits of an answer of several tokens or of a set of texts are no linear map of one state",
                fix="give each prompt one token as answer and one as foil",
            )
        parts = _Parts(model, abilities(model))
        rows = parts.rows()
        forwards = 0
        if isinstance(data, PromptSet):
            base, source = data, None
        else:
            base, source = two_sides(data, self.direction)  # each is read at its own end, so their lengths may differ

        def one_batch(index: Tensor) -> np.ndarray:
            nonlocal forwards
            device = bridge.device_of(model)
            run, logits = parts.read(base.take(index).to(device))
            project = parts.projection(run, base.take(index).to(device), logits)
            added = parts.added(run, project)
            odds = METRICS["logit_diff"](logits, base.take(index).to(device))[None]
            forwards += 1
            if source is None:
                return (
                    torch.cat([added, project.constant[None].to(added), odds.to(added), odds.to(added)]).cpu().numpy()
                )
            other, others = parts.read(source.take(index).to(device))
            forwards += 1
            theirs = METRICS["logit_diff"](others, source.take(index).to(device))[None].to(added)
            change = parts.added(other, project, frozen=run) - added
            return torch.cat([change, torch.zeros_like(odds).to(added), odds.to(added), theirs]).cpu().numpy()

        values, used = in_batches(len(base), self.batch_size, one_batch, progress="projecting")
        values, unedited, reached = values[:-2], values[-2], values[-1]
        if isinstance(data, PromptSet):
            baselines = {"base": np.zeros(len(base))}
        else:
            clean, corrupt = (reached, unedited) if self.direction == "denoise" else (unedited, reached)
            baselines, values = {"base": unedited, "clean": clean, "corrupt": corrupt}, unedited[None] + values
        return recorder.result(
            rows, values, baselines, forwards=forwards, batch_size=used, estimate="final norm frozen"
        )

    def cost(self, model: Model, data: PromptSet | Contrast) -> Cost:
        """Return what it would take: the unedited runs."""
        runs = len(data) * (2 if isinstance(data, Contrast) else 1)
        rows = len(_Parts(model, abilities(model)).rows())
        return Cost(cells=rows, examples=len(data), forwards=runs, naive_forwards=runs)


@dataclass(frozen=True)
class _Projection:
    """How a part of the last stream adds to the log-odds of each prompt.

    Attributes:
        direction: What the part is multiplied with, [batch model].
        constant: What is added whatever the stream is, [batch].
    """

    direction: Tensor
    constant: Tensor


class _Parts:
    """The parts of the last stream of a model, and what reads it."""

    def __init__(self, model: Model, able: Abilities) -> None:
        self.model, self.able, self.last = model, able, able.shape.n_layers - 1
        if not able.additive:
            raise UnsupportedError(
                f"{able.architecture} does not add its sublayers to the stream unchanged, so there are no direct parts",
                fix="use mc.patch, which works on every architecture",
            )
        self.norm, head = model.ln_final, model.unembed
        head = head if isinstance(head, nn.Linear) else getattr(head, "original_component", head)
        if not isinstance(head, nn.Linear):
            raise UnsupportedError("its unembedding is no linear map", got=type(head).__name__)
        self.head = head
        config = getattr(bridge.underlying(model), "config", None)
        self.cap, self.scaling = (getattr(config, name, None) for name in ("final_logit_softcapping", "logits_scaling"))
        self.mlps = able.components["mlp_out"].reads
        self.readouts = Readouts(model, able)
        self.twin = replayer(model).twin

    def rows(self) -> list[dict[str, Any]]:
        """Return where each row of the table is: the embedding, and for each layer heads, rest and MLP; last the bias."""
        rows = [Place(Site("resid_pre", 0), label="embedding").row()]
        for layer in range(self.last + 1):
            rows += [Place(Site("z", layer, head=head)).row() for head in range(self.able.shape.n_heads)]
            rows.append(Place(Site("attn_out", layer), label="rest").row())
            rows += [Place(Site("mlp_out", layer)).row()] if self.mlps else []
        return [*rows, Place(Site("logits"), label="bias").row()]

    @torch.no_grad()
    def read(self, batch: PromptSet) -> tuple[dict[Site, Tensor], Tensor]:
        """Return the activations of one unedited run at the read position, [batch ...] each, and its logits."""
        words = ("z", "attn_out", *(("mlp_out",) if self.mlps else ()))
        layers = range(self.last + 1)
        sites = [
            Site("resid_pre", 0),
            Site("resid_post", self.last),
            *(Site(w, layer) for layer in layers for w in words),
        ]
        run = forward(self.model, batch, read=sites)
        rows = torch.arange(len(batch), device=batch.tokens.device)
        return {site: value[rows, batch.read_columns].double() for site, value in run.read.items()}, run.logits

    @torch.no_grad()
    def projection(self, run: dict[Site, Tensor], batch: PromptSet, logits: Tensor) -> _Projection:
        """Return how parts add to the log-odds, the scale of the final norm as it is in this run."""
        stream = run[Site("resid_post", self.last)]
        weight, bias, centers = self._norm(stream)
        scaled = weight * (stream - stream.mean(-1, keepdim=True) if centers else stream)
        normed = self._normed(stream)
        scale = ((normed - bias) * scaled).sum(-1, keepdim=True) / (scaled * scaled).sum(-1, keepdim=True)
        matrix, shift = self.head.weight.double(), self.head.bias
        assert batch.answer is not None  # the metric has been checked
        assert batch.foil is not None
        toward = (matrix[batch.answer] - matrix[batch.foil]) / (self.scaling or 1.0)
        direction = weight * scale * toward
        direction = direction - direction.mean(-1, keepdim=True) if centers else direction
        constant = (bias * toward).sum(-1)
        if shift is not None:
            constant = constant + (shift[batch.answer] - shift[batch.foil]).double() / (self.scaling or 1.0)
        self._check((stream * direction).sum(-1) + constant, batch, logits)
        return _Projection(direction, constant)

    @torch.no_grad()
    def added(self, run: dict[Site, Tensor], project: _Projection, frozen: dict[Site, Tensor] | None = None) -> Tensor:
        """Return what each part adds to the log-odds, [part batch]; norms within a layer are frozen at another run."""
        rows = [(run[Site("resid_pre", 0)] * project.direction).sum(-1)]
        for layer in range(self.last + 1):
            heads = self._heads(layer, run, frozen or run)
            added = torch.einsum("bhm,bm->hb", heads, project.direction)
            layer_output = (run[Site("attn_out", layer)] * project.direction).sum(-1)
            rows += [*added, layer_output - added.sum(0)]
            rows += [(run[Site("mlp_out", layer)] * project.direction).sum(-1)] if self.mlps else []
        return torch.stack(rows)

    def _heads(self, layer: int, run: dict[Site, Tensor], frozen: dict[Site, Tensor]) -> Tensor:
        """Return what each head adds to the stream, [batch head model]."""
        z = run[Site("z", layer)]
        try:
            parts = [self.readouts.contribution(Site("z", layer, head=head)) for head in range(z.shape[1])]
            dtype = next(self.head.parameters()).dtype
            return torch.stack([part(z[:, head].to(dtype)) for head, part in enumerate(parts)], dim=1).double()
        except UnsupportedError:  # a norm stands between the output matrix and the stream
            if self.twin is None or Site("z", layer) not in self.twin.ports:
                raise
        module, enters = self.twin.ports[Site("z", layer)]
        if not enters:
            raise UnsupportedError(f"how the heads of layer {layer} enter the stream is not known")
        raw = self._through(module, z)
        total = self._through(module, frozen[Site("z", layer)]).sum(1)
        # This norm multiplies each entry, so that it is frozen by keeping the factors.
        factors = torch.where(total == 0, torch.zeros_like(total), frozen[Site("attn_out", layer)] / total)
        return raw * factors[:, None]

    def _through(self, module: nn.Module, z: Tensor) -> Tensor:
        """Return what the output matrix makes of each head, [batch head model]."""
        alone = torch.zeros(*z.shape[:2], *z.shape[1:], dtype=z.dtype, device=z.device)
        for head in range(z.shape[1]):
            alone[:, head, head] = z[:, head]
        flat = alone.flatten(2).to(next(module.parameters()).dtype)
        return (module(flat) - module(torch.zeros_like(flat))).double()

    def _normed(self, stream: Tensor) -> Tensor:
        dtype = next(self.head.parameters()).dtype
        return self.norm(stream[:, None].to(dtype))[:, 0].double()

    def _norm(self, stream: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Return the weight, up to a factor, and the bias of the final norm, and whether it subtracts the mean."""
        width = stream.shape[-1]
        zero, ones = stream.new_zeros(1, width), stream.new_ones(1, width)
        bias = self._normed(zero)[0]
        centers = bool((self._normed(ones)[0] - bias).abs().max() < 1e-3 * (1 + bias.abs().max()))
        probe = torch.randn(1, width, generator=torch.Generator().manual_seed(0)).to(stream)
        probe = probe - probe.mean() if centers else ones
        return (self._normed(probe)[0] - bias) / probe[0], bias, centers

    def _check(self, odds: Tensor, batch: PromptSet, logits: Tensor) -> None:
        """Refuse a model whose log-odds are not what its parts add up to."""
        stated = logits[torch.arange(len(batch), device=logits.device), batch.read_columns].double()
        if self.cap:  # before it squeezes
            stated = self.cap * torch.atanh((stated / self.cap).clamp(-1 + 1e-12, 1 - 1e-12))
        rows = torch.arange(len(batch), device=logits.device)
        difference = stated[rows, batch.answer] - stated[rows, batch.foil]
        wide = logits.dtype in (torch.float32, torch.float64)
        if not bool(((difference - odds).abs() <= (_EXACT if wide else 0.05) * (1 + stated.abs().max())).all()):
            raise UnsupportedError(
                f"the logits of {self.able.architecture} are not a norm and a linear map of its last stream",
                fix="use mc.path_patch with receivers='logits'",
            )


direct_logit_attribution = function(
    DirectAttributing, data="prompts", about="Prompts with an answer and a foil, or pairs of them."
)
