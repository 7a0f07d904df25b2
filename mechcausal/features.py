"""Train and judge dictionaries of features, probe for concepts, erase them, and link both to the behavior.

Names are imported on first use: a probe needs no dictionary, and a dictionary no scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mechcausal.face import lazy

if TYPE_CHECKING:
    from mechcausal.circuits.features.circuit import FeatureCircuit as FeatureCircuit
    from mechcausal.circuits.features.circuit import circuit as circuit
    from mechcausal.circuits.features.kept import faithfulness as faithfulness
    from mechcausal.dictionaries.activations import Activations as Activations
    from mechcausal.dictionaries.activations import harvest as harvest
    from mechcausal.dictionaries.cards.card import Card as Card
    from mechcausal.dictionaries.cards.card import card as card
    from mechcausal.dictionaries.companions import companions as companions
    from mechcausal.dictionaries.loading import load as load
    from mechcausal.dictionaries.quality import Health as Health
    from mechcausal.dictionaries.quality import health as health
    from mechcausal.dictionaries.screening.attribution import attribute as attribute
    from mechcausal.dictionaries.screening.screen import Screened as Screened
    from mechcausal.dictionaries.screening.screen import screen as screen
    from mechcausal.dictionaries.training import train as train
    from mechcausal.links import Candidate as Candidate
    from mechcausal.links import Links as Links
    from mechcausal.links import directions as directions
    from mechcausal.links import link as link
    from mechcausal.models.binding import Bound as Bound
    from mechcausal.models.binding import attach as attach
    from mechcausal.models.binding import attached as attached
    from mechcausal.models.binding import detach as detach
    from mechcausal.probes import Probe as Probe
    from mechcausal.probes import fairness as fairness
    from mechcausal.probes import privacy as privacy
    from mechcausal.probes import probe as probe
    from mechcausal.probes import probe_suite as probe_suite
    from mechcausal.probes import probe_sweep as probe_sweep
    from mechcausal.probes import sparse_probes as sparse_probes
    from mechcausal.probes import suite as suite
    from mechcausal.probes.erasure import erase as erase
    from mechcausal.probes.erasure import guardedness as guardedness

_HOME = {
    "Activations": "mechcausal.dictionaries.activations",
    "harvest": "mechcausal.dictionaries.activations",
    "train": "mechcausal.dictionaries.training",
    "companions": "mechcausal.dictionaries.companions",
    "load": "mechcausal.dictionaries.loading",
    "health": "mechcausal.dictionaries.quality",
    "Health": "mechcausal.dictionaries.quality",
    "attribute": "mechcausal.dictionaries.screening.attribution",
    "screen": "mechcausal.dictionaries.screening.screen",
    "Screened": "mechcausal.dictionaries.screening.screen",
    "card": "mechcausal.dictionaries.cards.card",
    "Card": "mechcausal.dictionaries.cards.card",
    "circuit": "mechcausal.circuits.features.circuit",
    "FeatureCircuit": "mechcausal.circuits.features.circuit",
    "faithfulness": "mechcausal.circuits.features.kept",
    "erase": "mechcausal.probes.erasure",
    "guardedness": "mechcausal.probes.erasure",
    "Candidate": "mechcausal.links",
    "Links": "mechcausal.links",
    "directions": "mechcausal.links",
    "link": "mechcausal.links",
    "Probe": "mechcausal.probes",
    "fairness": "mechcausal.probes",
    "privacy": "mechcausal.probes",
    "sparse_probes": "mechcausal.probes",
    "suite": "mechcausal.probes",
    "probe_suite": "mechcausal.probes",
    "probe": "mechcausal.probes",
    "probe_sweep": "mechcausal.probes",
    "Bound": "mechcausal.models.binding",
    "attach": "mechcausal.models.binding",
    "attached": "mechcausal.models.binding",
    "detach": "mechcausal.models.binding",
}

if not TYPE_CHECKING:  # a checker knows the names from above, and refuses any other
    __getattr__, __dir__ = lazy(__name__, _HOME)
