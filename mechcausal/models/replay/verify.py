"""Compare the engine with the loop on the model at hand, once, and use it where the two agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
import torch
from torch import Tensor, nn

from mechcausal.address import Selection, Site, expand
from mechcausal.data.prompts import PromptSet, pad
from mechcausal.errors import MechcausalError, UnsupportedError
from mechcausal.interventions.specs import Edit, Patch, Scale
from mechcausal.metrics import METRICS
from mechcausal.models import bridge
from mechcausal.models.abilities import Abilities, abilities
from mechcausal.models.attached import Bound, bound
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.hooked import forward, gradient_reads, gradients
from mechcausal.models.readout import Readouts
from mechcausal.models.replay.backward import slopes
from mechcausal.models.replay.changes import CARRIED, Key, needed
from mechcausal.models.replay.evaluate import Job
from mechcausal.models.replay.inside import MADE, Cell
from mechcausal.models.replay.meter import Meter
from mechcausal.models.replay.twin import READ, Base, Twin
from mechcausal.models.sources import source_of

SEVERAL = "several sites"  # under this name is told why edits at several activations are left to the loop
_ON_THE_RUN = ("embed",)  # all that is carried where everything else is made on the run


@dataclass
class Replayer:
    """What the engine can do on one model. Each component is compared with the loop when it is first asked for.

    Attributes:
        model: The bridge, as long as it is there.
        able: What it can do.
        twin: The bare model; None where there is none.
        maps: How heads and neurons enter the stream, as far as it was asked for.
        reasons: Why it does not do components, as far as they were asked for.
        slopes: Why it does not take gradients at a component, as far as it was asked for; empty where it does.
        of_dictionaries: Why it does not carry edits of the features of a dictionary, likewise.
    """

    model: ref[Any]
    able: Abilities
    twin: Twin | None
    maps: dict[Site, Tensor] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    slopes: dict[str, str] = field(default_factory=dict)
    of_dictionaries: dict[str, str] = field(default_factory=dict)
    _ways: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    _together: frozenset[str] | None = None

    def carries(self, kind: str) -> bool:
        """Say whether it carries edits of a kind of site to the end of their layer, in agreement with the loop."""
        return self._judged(kind)[0]

    def why_not(self, kind: str) -> str:
        """Return why edits of a kind of site are left to the loop."""
        known = self.of_dictionaries.get(kind) or self.reasons.get(kind)
        return known or "its effect is not carried to the end of its layer"

    def makes(self, kind: str) -> bool:
        """Say whether it makes edits of a kind of site on the run, in agreement with the loop."""
        return self._judged(kind)[1]

    @property
    def components(self) -> frozenset[str]:
        """All components whose edits it carries."""
        return frozenset(name for name in CARRIED if self.carries(name))

    @property
    def inside(self) -> frozenset[str]:
        """All components whose edits it makes on the run."""
        return frozenset(name for name in MADE if self.makes(name))

    @property
    def together(self) -> frozenset[str]:
        """The components of which it makes several in one run."""
        if self._together is None:
            together = self.inside | self.components.intersection(_ON_THE_RUN)
            found = self._compared(_several(sorted(together), self.able), [self.components])[0] if together else None
            if found is not None:
                self.reasons[SEVERAL] = found
            self._together = together if found is None else frozenset()
        return self._together

    def _judged(self, kind: str) -> tuple[bool, bool]:
        component, _, name = kind.partition(".sae:")
        # Another dictionary may come to bear the same name.
        key = f"{kind} {bound(self.model(), name).digest}" if name else kind
        if key not in self._ways:
            self._ways[key] = (self._judge_dictionary(kind, component, name), False) if name else self._judge(kind)
        return self._ways[key]

    def _judge_dictionary(self, kind: str, component: str, name: str) -> bool:
        """Compare edits of features, of all at once and of the error, with the loop."""
        dictionary = bound(self.model(), name)
        if not self.carries(component):
            reason = self.reasons.get(component, f"edits of {component} are not carried either")
        elif dictionary.site_out is not None:
            reason = "a transcoder reads one activation and writes another"
        elif not dictionary.linear:
            reason = "its features do not enter the activation linearly"
        else:
            reason = self._compared(_features(dictionary), [{kind}])[0]
        self.of_dictionaries[kind] = reason or ""
        return not reason

    def _judge(self, component: str) -> tuple[bool, bool]:
        ways = [way for way, names in ((CARRIED, CARRIED), (_ON_THE_RUN, MADE)) if component in names]
        known = component in CARRIED or (self.twin is not None and self.twin.reads(Site(component, 0)))
        if self.twin is None or not ways or not known or not self.able.components[component].writes:
            return False, False
        found = self._compared(_alone(component, self.able), ways)
        if None not in found:
            self.reasons[component] = str(found[0])
        return CARRIED in ways and found[0] is None, _ON_THE_RUN in ways and found[-1] is None

    def _compared(self, cells: Callable[[int], list[Cell]], ways: Sequence[Collection[str]]) -> list[str | None]:
        assert self.twin is not None  # nothing is compared without it
        readouts = Readouts(self.model(), self.able, self.maps, self.twin.places)
        return _disagreements(self.model(), self.able, self.twin, readouts, cells, ways)


_known: WeakKeyDictionary[Any, tuple[str, Replayer]] = WeakKeyDictionary()


def replayer(model: Any) -> Replayer:  # noqa: ANN401 - a TransformerBridge
    """Return what the engine can do on this model, compared with the loop on first use and remembered."""
    digest = weights_fingerprint(model)
    if model not in _known or _known[model][0] != digest:
        _known[model] = digest, _verified(model, abilities(model))
    return _known[model][1]


def differentiable(model: Any, components: Sequence[str]) -> tuple[Replayer | None, dict[str, str]]:  # noqa: ANN401
    """Return the engine, and why gradients at some of these components are taken through whole forwards instead."""
    if bridge.is_hooked(model):
        return None, dict.fromkeys(components, "hooks of others are attached to the model")
    known = replayer(model)
    for component in components:
        if component not in known.slopes:
            known.slopes[component] = _slopes_disagree(model, known, component)
    return known, {component: known.slopes[component] for component in components if known.slopes[component]}


def _slopes_disagree(model: Any, known: Replayer, component: str) -> str:  # noqa: ANN401
    twin, able = known.twin, abilities(model)
    if twin is None:
        return next(iter(known.reasons.values()), "its layers cannot be called")
    if component not in twin.readable:
        return "it is not read at a module or between the layers"
    last = able.shape.n_layers - 1
    sites = [Site(component, layer) for layer in sorted({0, last // 2, last})]
    for batch, _ in _batches(model):
        rows, middle = torch.arange(len(batch), device=batch.tokens.device), batch.tokens.shape[1] // 2
        for metric in (METRICS["logit_diff"], METRICS["loss"]):
            run = forward(model, batch, read=gradient_reads(sites), grad=True)
            slow = gradients(metric(run.logits, batch).sum(), run, sites)
            try:
                base = twin.record(batch, dict.fromkeys(sites, able.components[component].shape[2:]))
                meter = Meter(twin, batch, metric, None, base.hidden[-1])
                found = {start: slopes(twin, base, meter, sites, rows, start) for start in (0, middle)}
            except (MechcausalError, RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
                return str(error).splitlines()[0][:200]
            for start, fast in found.items():
                seen = batch.mask[:, start:]
                pairs = ((fast[site][seen], slow[site][:, start:][seen]) for site in sites)
                if not all(_close(*(x.float().cpu().numpy() for x in pair), model) for pair in pairs):
                    return "its gradients and those of the loop do not agree"
    return ""


def _verified(model: Any, able: Abilities) -> Replayer:  # noqa: ANN401
    try:
        twin = Twin(model)
        for batch, _ in _batches(model):
            base = twin.record(batch)
            if not _same(twin.logits(base.hidden[-1]), forward(model, batch).logits, batch, model):
                raise UnsupportedError("its layers, called one by one, do not give its logits")
        twin.readable = frozenset(name for name in READ if _is_read(model, able, twin, name))
        twin.leaves_at = _leaves_at(model, able, twin)
    except (MechcausalError, RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:200]
        everything = (name for name in CARRIED if able.components[name].writes)
        return Replayer(ref(model), able, None, reasons=dict.fromkeys((*everything, SEVERAL), reason))
    return Replayer(ref(model), able, twin)


def _disagreements(
    model: Any,  # noqa: ANN401
    able: Abilities,
    twin: Twin,
    readouts: Readouts,
    cells: Callable[[int], list[Cell]],
    ways: Sequence[Collection[str]],
) -> list[str | None]:
    """Return for each way, which says what is carried to the end of its layer, how it fails to be the loop."""
    reasons: list[str | None] = [None] * len(ways)
    for batch, source in _batches(model):
        asked = cells(batch.tokens.shape[1])
        wholes = list(dict.fromkeys(edit.site.whole for cell in asked for edit in cell))
        taken = forward(model, source, read=wholes).read
        logits = [
            forward(model, batch, cell, sources=[source_of(edit, taken, {}, batch) for edit in cell]).logits
            for cell in asked
        ]
        given: dict[Key, Tensor] = {(site, Patch()): value for site, value in taken.items()}
        for metric in (METRICS[name] for name in ("logit_diff", "loss")):
            slow = np.array([metric(out, batch).float().cpu().numpy() for out in logits])
            for number, way in enumerate(ways):
                try:
                    base, _ = recorded(model, able, twin, batch, needed(wholes, able))
                    meter = Meter(twin, batch, metric, None, base.hidden[-1])
                    fast, _ = Job(twin, able, readouts, base, meter, given, carried=way).run(asked)
                except (MechcausalError, RuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
                    reasons[number] = reasons[number] or str(error).splitlines()[0][:200]
                    continue
                found = np.isfinite(fast)
                if not _close(fast[found], slow[found], model):
                    reasons[number] = reasons[number] or "the engine and the loop do not agree there"
    return reasons


def _alone(component: str, able: Abilities) -> Callable[[int], list[Cell]]:
    """Return cells of one edit of a component, for prompts of a width."""
    sites = _some(component, able)
    return lambda width: [
        (Edit(site, Patch(), where),) for site in sites for where in (Selection.parse(width // 2), Selection())
    ]


def _features(dictionary: Bound) -> Callable[[int], list[Cell]]:
    """Return cells of edits of single features, of all features and of the error, for prompts of a width."""
    ends = (dictionary.feature(number) for number in {0, dictionary.n_features // 2, dictionary.n_features - 1})
    sites = [*ends, dictionary.features, dictionary.error]
    return lambda width: [
        (Edit(site, Patch(), where),) for site in sites for where in (Selection.parse(width // 2), Selection())
    ]


def _several(components: Sequence[str], able: Abilities) -> Callable[[int], list[Cell]]:
    """Return cells of edits at several activations, drawn once for all."""

    def cells(width: int) -> list[Cell]:
        draw = Random(3)
        pool = [site for name in components for site in _some(name, able)]
        where = Selection.parse(width // 2), Selection()
        sites = [draw.sample(pool, min(len(pool), count)) for count in (2, 2, 3, 3, 4, 4)]
        return [
            tuple(Edit(site, draw.choice((Patch(), Patch(), Scale(0.5))), draw.choice(where)) for site in some)
            for some in sites
        ]

    return cells


def recorded(
    model: Any,  # noqa: ANN401
    able: Abilities,
    twin: Twin,
    batch: PromptSet,
    sites: Sequence[Site],
) -> tuple[Base, int]:
    """Return the unedited run with activations, those that the twin does not give read off the bridge, and its forwards."""
    plain = list(dict.fromkeys(site.activation if site.dictionary else site for site in sites))
    own = {site: able.shape_at(site) for site in plain if twin.reads(site)}
    base = twin.record(batch, own)
    others = [site for site in plain if site not in own]
    if others:
        base.values |= forward(model, batch, read=others).read
    with torch.no_grad():
        for site in (site for site in sites if site.dictionary):
            base.values[site] = bound(model, str(site.dictionary)).read(site, base.values[site.activation])
    return base, 1 + bool(others)


def _is_read(model: Any, able: Abilities, twin: Twin, component: str) -> bool:  # noqa: ANN401
    """Say whether the twin reads a component in every layer as the bridge does."""
    if not able.components[component].reads or (component == "resid_mid" and not able.components[component].writes):
        return False
    sites = [Site(component, layer) for layer in range(able.shape.n_layers)]
    shape = able.components[component].shape[2:]
    for batch, _ in _batches(model):
        there = forward(model, batch, read=sites).read
        try:
            here = twin.record(batch, dict.fromkeys(sites, shape)).values
        except (KeyError, RuntimeError, TypeError, AttributeError, IndexError):
            return False
        if not all(here[s].shape == there[s].shape and _same(here[s], there[s], batch, model) for s in sites):
            return False
    return True


def _leaves_at(model: Any, able: Abilities, twin: Twin) -> nn.Module | None:  # noqa: ANN401
    """Return where the last layer may be left: what is left out is then done at one position alone."""
    if not able.components["resid_mid"].writes or not twin.chains[-1]:
        return None
    batch = _batches(model)[0][0]
    base, rows = twin.record(batch), torch.arange(len(batch), device=batch.tokens.device)
    output, _ = twin.places.get(Site("z", len(twin.layers) - 1), (None, True))
    for place in (output, twin.chains[-1][0]):
        twin.leaves_at = place
        found = twin.last_layer(base, base.hidden[-2], rows, 0, batch.read_columns)
        if _close(*(x.float().cpu().numpy() for x in (found, base.hidden[-1][rows, batch.read_columns])), model):
            return place
    return None


def _same(here: Tensor, there: Tensor, batch: PromptSet, model: Any) -> bool:  # noqa: ANN401
    return _close(*(x[batch.mask].float().cpu().numpy() for x in (here, there)), model)


def _some(component: str, able: Abilities) -> list[Site]:
    """Return the sites of the first and the last layer, first and last unit."""
    sites = expand(component, able.shape)
    if component == "mlp_post":
        sites = [*sites, *expand("L*.mlp_post.N0", able.shape)]
    return list(dict.fromkeys([sites[0], sites[len(sites) // 2], sites[-1]]))


def _batches(model: Any) -> list[tuple[PromptSet, PromptSet]]:  # noqa: ANN401
    draw = torch.Generator().manual_seed(11)
    longest = min(6, model.cfg.n_ctx)
    lengths = [longest, max(2, longest - 2), longest]
    vocabulary = model.cfg.d_vocab
    outputs = model.cfg.d_vocab if getattr(model.cfg, "d_vocab_out", -1) in (None, -1) else model.cfg.d_vocab_out
    out = []
    for side in ("right", "left"):
        rows, others = (
            [torch.randint(0, vocabulary, (n,), generator=draw).tolist() for n in lengths] for _ in range(2)
        )
        ids = torch.randint(0, outputs, (2, len(lengths)), generator=draw)
        base, source = (
            PromptSet(*pad(tokens, side=side), side=side, answer=ids[0], foil=ids[1]).to(bridge.device_of(model))
            for tokens in (rows, others)
        )
        out.append((base, source))
    return out


def _close(fast: np.ndarray, slow: np.ndarray, model: Any) -> bool:  # noqa: ANN401
    wide = next(bridge.underlying(model).parameters()).dtype in (torch.float32, torch.float64)
    scale = max(float(np.ptp(slow)), float(np.abs(slow).max()), 1e-3) if slow.size else 1.0
    return bool(np.isfinite(fast).all() and np.abs(fast - slow).max(initial=0.0) <= (1e-4 if wide else 5e-2) * scale)
