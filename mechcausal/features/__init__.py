"""Features: dictionaries and what they are worth, probes, erasure, links, circuits of features.

Names are imported on first use: a probe needs no dictionary, and a dictionary no scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mechcausal.features.cards.card import Card as Card
    from mechcausal.features.cards.card import card as card
    from mechcausal.features.circuits.circuit import FeatureCircuit as FeatureCircuit
    from mechcausal.features.circuits.circuit import circuit as circuit
    from mechcausal.features.circuits.kept import faithfulness as faithfulness
    from mechcausal.features.dictionaries.activations import Activations as Activations
    from mechcausal.features.dictionaries.activations import harvest as harvest
    from mechcausal.features.dictionaries.companions import companions as companions
    from mechcausal.features.dictionaries.loading import load as load
    from mechcausal.features.dictionaries.quality import Health as Health
    from mechcausal.features.dictionaries.quality import health as health
    from mechcausal.features.dictionaries.training import train as train
    from mechcausal.features.erasure import erase as erase
    from mechcausal.features.erasure import guardedness as guardedness
    from mechcausal.features.links import Candidate as Candidate
    from mechcausal.features.links import Links as Links
    from mechcausal.features.links import directions as directions
    from mechcausal.features.links import link as link
    from mechcausal.features.probes import Probe as Probe
    from mechcausal.features.probes import fairness as fairness
    from mechcausal.features.probes import privacy as privacy
    from mechcausal.features.probes import probe as probe
    from mechcausal.features.probes import probe_suite as probe_suite
    from mechcausal.features.probes import probe_sweep as probe_sweep
    from mechcausal.features.probes import sparse_probes as sparse_probes
    from mechcausal.features.probes import suite as suite
    from mechcausal.features.screening.attribution import attribute as attribute
    from mechcausal.features.screening.screen import Screening as Screening
    from mechcausal.features.screening.screen import screen as screen
    from mechcausal.models.dictionaries import Bound as Bound
    from mechcausal.models.dictionaries import attach as attach
    from mechcausal.models.dictionaries import attached as attached
    from mechcausal.models.dictionaries import detach as detach

_HOME = {
    "Activations": "mechcausal.features.dictionaries.activations",
    "harvest": "mechcausal.features.dictionaries.activations",
    "train": "mechcausal.features.dictionaries.training",
    "companions": "mechcausal.features.dictionaries.companions",
    "load": "mechcausal.features.dictionaries.loading",
    "health": "mechcausal.features.dictionaries.quality",
    "Health": "mechcausal.features.dictionaries.quality",
    "attribute": "mechcausal.features.screening.attribution",
    "screen": "mechcausal.features.screening.screen",
    "Screening": "mechcausal.features.screening.screen",
    "card": "mechcausal.features.cards.card",
    "Card": "mechcausal.features.cards.card",
    "circuit": "mechcausal.features.circuits.circuit",
    "FeatureCircuit": "mechcausal.features.circuits.circuit",
    "faithfulness": "mechcausal.features.circuits.kept",
    "erase": "mechcausal.features.erasure",
    "guardedness": "mechcausal.features.erasure",
    "Candidate": "mechcausal.features.links",
    "Links": "mechcausal.features.links",
    "directions": "mechcausal.features.links",
    "link": "mechcausal.features.links",
    "Probe": "mechcausal.features.probes",
    "fairness": "mechcausal.features.probes",
    "privacy": "mechcausal.features.probes",
    "sparse_probes": "mechcausal.features.probes",
    "suite": "mechcausal.features.probes",
    "probe_suite": "mechcausal.features.probes",
    "probe": "mechcausal.features.probes",
    "probe_sweep": "mechcausal.features.probes",
    "Bound": "mechcausal.models.dictionaries",
    "attach": "mechcausal.models.dictionaries",
    "attached": "mechcausal.models.dictionaries",
    "detach": "mechcausal.models.dictionaries",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mechcausal.features' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
