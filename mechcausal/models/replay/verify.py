"""Compare the engine with the loop on the model at hand, once, and use it where the two agree.

What a comparison found is kept on disk where it took long. That is safe because it is found again only for the same
weights, settings, code, libraries and kind of processor, under which the same numbers would come out; a model with hooks
of others is compared anew. That the layers called one by one give the logits is looked at in every process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

import torch
from tqdm.auto import tqdm

from mechcausal.address import ALL, VECTOR_COMPONENTS, Selection, Site, expand
from mechcausal.errors import MechcausalError, UnsupportedError
from mechcausal.interventions.specs import Edit, Patch, Scale
from mechcausal.metrics import METRICS
from mechcausal.models.abilities import LONG, Abilities, abilities, key_on_disk
from mechcausal.models.attached import Bound, bound
from mechcausal.models.cache import keep, recall
from mechcausal.models.compared import agree, in_short, probes
from mechcausal.models.condition import Condition, condition
from mechcausal.models.counting import uncounted
from mechcausal.models.fingerprint import weights_fingerprint
from mechcausal.models.hooked import forward
from mechcausal.models.plan import Cell, Plan
from mechcausal.models.replay.changes import CARRIED, MADE
from mechcausal.models.replay.evaluate import replay
from mechcausal.models.replay.twin import READ, Twin, recorded
from mechcausal.models.sources import source_of

SEVERAL = "several sites"  # under this name is told why edits at several activations are left to the loop
_DISAGREE = "the engine and the loop do not agree there"
_WHERE = (Selection.parse("@1"), ALL)  # what is left of the first is reused
_ON_THE_RUN = ("embed",)  # all that is carried where everything else is made on the run


@dataclass(eq=False)
class Kept:
    """What comparisons of this model found in earlier processes.

    Attributes:
        key: All that they depend on; None where nothing is kept.
        content: What they found.
    """

    key: dict[str, Any] | None
    content: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str, find: Callable[[], Any]) -> Any:  # noqa: ANN401 - what JSON holds
        """Return what was found under a name; else find it now, and keep it if that takes long."""
        if name not in self.content:
            started = time.perf_counter()
            self.content[name] = find()
            if self.key is not None and time.perf_counter() - started > LONG:
                # Another process may have found more in the meantime.
                self.content = {**(recall("engine", self.key) or {}), **self.content}
                keep("engine", self.key, self.content)
        return self.content[name]


@dataclass(eq=False)
class Replayer:
    """What the engine can do on one model. Each component is compared with the loop when it is first asked for.

    Attributes:
        able: What the bridge can do.
        twin: The bare model; None where there is none.
        reasons: Why it does not do kinds of sites, as far as they were asked for.
    """

    able: Abilities
    twin: Twin | None
    reasons: dict[str, str] = field(default_factory=dict)
    _kept: Kept = field(default_factory=lambda: Kept(None))
    _ways: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    _together: frozenset[str] | None = None

    def carries(self, kind: str) -> bool:
        """Say whether it carries edits of a kind of site to the end of their layer, in agreement with the loop."""
        return self._judged(kind)[0]

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
            if (
                together
                and self.twin is not None
                and (reason := self._kept.get(SEVERAL, partial(self._one_run, together)))
            ):
                self.reasons[SEVERAL], together = reason, frozenset()
            self._together = together
        return self._together

    def _one_run(self, components: Collection[str]) -> str:
        """Return why several edits cannot be made in one run."""
        assert self.twin is not None  # who asks has looked
        (reason,) = _disagreements(self.twin, _several(sorted(components), self.able), [self.components])
        return reason

    def _judged(self, kind: str) -> tuple[bool, bool]:
        component, _, name = kind.partition(".sae:")
        if self.twin is None:
            return False, False
        # Another dictionary may come to bear the same name.
        dictionary = bound(self.twin.wrapped(), name) if name else None
        key = f"{kind} {dictionary.digest}" if dictionary else kind
        if key not in self._ways:
            judge = partial(self._judge_features, dictionary, component) if dictionary else partial(self._judge, kind)
            carries, makes, reason = self._kept.get(key, judge)
            self.reasons |= {(dictionary.features.kind if dictionary else component): reason} if reason else {}
            self._ways[key] = carries, makes
        return self._ways[key]

    def _judge_features(self, dictionary: Bound, component: str) -> tuple[bool, bool, str]:
        """Compare edits of features, of all at once and of the error, with the loop."""
        assert self.twin is not None  # who asks has looked
        if not self.carries(component):
            reason = self.reasons.get(component, f"edits of {component} are not carried either")
        elif dictionary.site_out is not None:
            reason = "a transcoder reads one activation and writes another"
        elif not dictionary.linear:
            reason = "its features do not enter the activation linearly"
        else:
            (reason,) = _disagreements(self.twin, _features(dictionary), [{dictionary.features.kind}])
        return not reason, False, reason

    def _judge(self, component: str) -> tuple[bool, bool, str]:
        ways = [way for way, names in ((CARRIED, CARRIED), (_ON_THE_RUN, MADE)) if component in names]
        assert self.twin is not None  # who asks has looked
        readable = component in CARRIED or component in self.twin.readable
        if not ways or not readable or not self.able.components[component].writes:
            return False, False, ""
        failures = _disagreements(self.twin, _alone(component, self.able), ways)
        reason = failures[0] if all(failures) else ""
        return CARRIED in ways and not failures[0], _ON_THE_RUN in ways and not failures[-1], reason


_replayers: WeakKeyDictionary[Any, tuple[tuple[str, Condition], Replayer]] = WeakKeyDictionary()


def replayer(model: Any) -> Replayer:  # noqa: ANN401 - a TransformerBridge
    """Return what the engine can do on this model, compared with the loop on first use and after every change of it."""
    state = weights_fingerprint(model), condition(model)
    if model not in _replayers or _replayers[model][0] != state:
        _replayers[model] = state, _verified(model)
    return _replayers[model][1]


@uncounted()
def _verified(model: Any) -> Replayer:  # noqa: ANN401
    able = abilities(model)
    key = key_on_disk(model, condition(model))
    kept = Kept(key, {} if key is None else recall("engine", key) or {})
    try:
        twin = Twin(model)
        for batch, _ in probes(model):
            logits = twin.logits(twin.record(batch).hidden[-1])
            if not agree(logits[batch.mask], forward(model, batch).logits[batch.mask], model):
                raise UnsupportedError("its layers, called one by one, do not give its logits")
        if kept.get("looks ahead", lambda: _looks_ahead(twin, model)):
            raise UnsupportedError("its tokens see later ones, so an edit changes positions before it")
        twin.readable = frozenset(kept.get("readable", lambda: [name for name in READ if _is_read(twin, model, name)]))
        twin.leaves_early = kept.get("leaves early", lambda: _leaves_early(twin, model))
    except MechcausalError as error:
        everything = (name for name in CARRIED if able.components[name].writes)
        return Replayer(able, None, dict.fromkeys((*everything, SEVERAL), in_short(error)))
    return Replayer(able, twin, _kept=kept)


def _looks_ahead(twin: Twin, model: Any) -> bool:  # noqa: ANN401
    """Say whether a change of the last token changes the stream before it."""
    batch, other = probes(model)[-1]  # padded on the left, so the last column is a token of every prompt
    tokens = torch.cat([batch.tokens[:, :-1], other.tokens[:, -1:]], dim=1)
    here, there = (twin.record(prompts).hidden[-1][:, :-1] for prompts in (batch, replace(batch, tokens=tokens)))
    seen = batch.mask[:, :-1]
    return not bool(torch.isclose(here[seen], there[seen], rtol=1e-4, atol=1e-6).all())


def _is_read(twin: Twin, model: Any, component: str) -> bool:  # noqa: ANN401
    """Say whether the twin reads a component in every layer as the bridge does."""
    ability = twin.able.components[component]
    if not ability.reads or (component == "resid_mid" and not ability.writes):
        return False
    shapes = {Site(component, layer): ability.shape[2:] for layer in range(len(twin.layers))}
    for batch, _ in probes(model):
        there = forward(model, batch, read=list(shapes)).read
        try:
            here = twin.record(batch, shapes).values
        except MechcausalError:
            return False
        if not all(agree(here[site][batch.mask], there[site][batch.mask], model) for site in shapes):
            return False
    return True


def _leaves_early(twin: Twin, model: Any) -> bool:  # noqa: ANN401
    """Say whether the last layer gives at one position what it gives there when it is run on all."""
    twin.leaves_early = True
    for batch, _ in probes(model):
        base, read = twin.record(batch), batch.read_columns
        rows = torch.arange(len(batch), device=read.device)
        try:
            outputs = [twin.last_layer(base, base.hidden[-2][:, start:], rows, start, read) for start in (0, 1)]
        except MechcausalError:
            return False
        if not all(agree(output, base.hidden[-1][rows, read], model) for output in outputs):
            return False
    return True


@uncounted()
def _disagreements(twin: Twin, cells: Sequence[Cell], ways: Sequence[Collection[str]]) -> list[str]:
    """Return for each way, which says what is carried to the end of its layer, how it fails to be the loop, if it does."""
    model, reasons = twin.wrapped(), [""] * len(ways)
    wholes = list(dict.fromkeys(edit.site.whole for cell in cells for edit in cell))
    kinds = ", ".join(dict.fromkeys(site.kind for site in wholes))
    bar = tqdm(total=2 * len(cells), desc=f"comparing the engine at {kinds}", unit="cell", disable=None, leave=False)
    for batch, rows in probes(model):
        taken = forward(model, rows, read=wholes).read
        logits = []
        for cell in cells:
            sources = [source_of(edit, taken, {}, batch) for edit in cell]
            logits.append(forward(model, batch, cell, sources=sources).logits)
            bar.update()
        for metric in (METRICS[name] for name in ("logit_diff", "loss")):
            slow = torch.stack([metric(out, batch) for out in logits])
            for number, way in enumerate(ways):
                try:
                    fast = replay(twin, Plan(batch, cells, metric, rows), way).values
                    failure = "" if agree(torch.as_tensor(fast), slow, model) else _DISAGREE
                except MechcausalError as error:
                    failure = in_short(error)
                reasons[number] = reasons[number] or failure
    bar.close()
    return reasons


def _alone(component: str, able: Abilities) -> list[Cell]:
    """Return cells of one edit of a component."""
    return [(Edit(site, Patch(), where),) for site in _some(component, able) for where in _WHERE]


def _features(dictionary: Bound) -> list[Cell]:
    """Return cells of edits of single features, of all features and of the error."""
    ends = (dictionary.feature(number) for number in {0, dictionary.n_features // 2, dictionary.n_features - 1})
    sites = [*ends, dictionary.features, dictionary.error]
    return [(Edit(site, Patch(), where),) for site in sites for where in _WHERE]


def _several(components: Sequence[str], able: Abilities) -> list[Cell]:
    """Return cells of edits at several activations, drawn once for all."""
    draw = Random(3)
    pool = [site for name in components for site in _some(name, able)]
    sites = [draw.sample(pool, min(len(pool), count)) for count in (2, 2, 3, 3, 4, 4)]
    ways = Patch(), Patch(), Scale(0.5)
    return [tuple(Edit(site, draw.choice(ways), draw.choice(_WHERE)) for site in some) for some in sites]


def _some(component: str, able: Abilities) -> list[Site]:
    """Return the sites of the first and the last layer, first and last head; of vectors one entry in the middle too."""
    sites = expand(component, able.shape)
    middle = sites[len(sites) // 2]
    if component in ("embed", *VECTOR_COMPONENTS):
        middle = replace(middle, neuron=1)
    return list(dict.fromkeys([sites[0], middle, sites[-1]]))


__all__ = ["SEVERAL", "Replayer", "recorded", "replayer"]
