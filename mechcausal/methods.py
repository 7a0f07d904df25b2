"""Hold each method as a frozen specification that is checked, costed, run, written to a file and read back.

spec = mc.methods.Patching(sites="z", direction="noise")
spec.cost(model, pairs)               # what it would take
spec.run(model, pairs)                # the same as mc.patch(model, pairs, sites="z", direction="noise")
mc.methods.read(spec.to_json())       # equal to spec
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mechcausal.face import lazy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mechcausal.causal.alignment.das import Aligning as Aligning
    from mechcausal.causal.alignment.interchange import InterchangeSweeping as InterchangeSweeping
    from mechcausal.causal.alignment.interchange import Interchanging as Interchanging
    from mechcausal.causal.alignment.masks import Masking as Masking
    from mechcausal.causal.mediation.controlled import Controlling as Controlling
    from mechcausal.causal.mediation.mediate import Mediating as Mediating
    from mechcausal.causal.mediation.paths import PathEffecting as PathEffecting
    from mechcausal.causal.scrubbing.scrub import Laddering as Laddering
    from mechcausal.causal.scrubbing.scrub import Scrubbing as Scrubbing
    from mechcausal.causal.training.train import Training as Training
    from mechcausal.circuits.certifying.certify import CertifyingCircuit as CertifyingCircuit
    from mechcausal.circuits.discover import Discovering as Discovering
    from mechcausal.circuits.evaluation.evaluate import EvaluatingCircuit as EvaluatingCircuit
    from mechcausal.circuits.features.circuit import FeatureCircuiting as FeatureCircuiting
    from mechcausal.circuits.features.kept import Keeping as Keeping
    from mechcausal.circuits.unique.rediscover import Rediscovering as Rediscovering
    from mechcausal.dictionaries.activations import Harvesting as Harvesting
    from mechcausal.dictionaries.cards.card import Carding as Carding
    from mechcausal.dictionaries.quality import HealthChecking as HealthChecking
    from mechcausal.dictionaries.screening.attribution import FeatureAttributing as FeatureAttributing
    from mechcausal.dictionaries.screening.screen import Screening as Screening
    from mechcausal.dictionaries.training import DictionaryTraining as DictionaryTraining
    from mechcausal.generation.generating import Generating as Generating
    from mechcausal.inspection.attending import Attending as Attending
    from mechcausal.inspection.lens import Lensing as Lensing
    from mechcausal.links.linking import Linking as Linking
    from mechcausal.method import Cost as Cost
    from mechcausal.method import Method as Method
    from mechcausal.patching.ablation import Ablating as Ablating
    from mechcausal.patching.activation import Patching as Patching
    from mechcausal.patching.attribution import Attributing as Attributing
    from mechcausal.patching.measuring import Measuring as Measuring
    from mechcausal.patching.path import PathPatching as PathPatching
    from mechcausal.patching.projection import DirectAttributing as DirectAttributing
    from mechcausal.patching.reading import Reading as Reading
    from mechcausal.probes.answers import ProbingSuite as ProbingSuite
    from mechcausal.probes.erasure.erasing import Erasing as Erasing
    from mechcausal.probes.erasure.guardedness import Guarding as Guarding
    from mechcausal.probes.probing import Probing as Probing
    from mechcausal.probes.sparse import SparseProbing as SparseProbing
    from mechcausal.probes.sweep import ProbeSweeping as ProbeSweeping
    from mechcausal.steering.steering import Steering as Steering

# One line for each specification: its class, the word it goes by in files, and where it stands.
_SPECS = {
    "Ablating": ("ablate", "mechcausal.patching.ablation"),
    "Aligning": ("das", "mechcausal.causal.alignment.das"),
    "Attending": ("attention", "mechcausal.inspection.attending"),
    "Attributing": ("attribute", "mechcausal.patching.attribution"),
    "Carding": ("card", "mechcausal.dictionaries.cards.card"),
    "CertifyingCircuit": ("certify_circuit", "mechcausal.circuits.certifying.certify"),
    "Controlling": ("controlled", "mechcausal.causal.mediation.controlled"),
    "DictionaryTraining": ("train_dictionary", "mechcausal.dictionaries.training"),
    "DirectAttributing": ("direct_logit_attribution", "mechcausal.patching.projection"),
    "Erasing": ("erase", "mechcausal.probes.erasure.erasing"),
    "Discovering": ("discover", "mechcausal.circuits.discover"),
    "EvaluatingCircuit": ("evaluate_circuit", "mechcausal.circuits.evaluation.evaluate"),
    "FeatureAttributing": ("attribute_features", "mechcausal.dictionaries.screening.attribution"),
    "FeatureCircuiting": ("feature_circuit", "mechcausal.circuits.features.circuit"),
    "Generating": ("generate", "mechcausal.generation.generating"),
    "Guarding": ("guardedness", "mechcausal.probes.erasure.guardedness"),
    "Harvesting": ("harvest", "mechcausal.dictionaries.activations"),
    "HealthChecking": ("health", "mechcausal.dictionaries.quality"),
    "InterchangeSweeping": ("interchange_sweep", "mechcausal.causal.alignment.interchange"),
    "Interchanging": ("interchange", "mechcausal.causal.alignment.interchange"),
    "Keeping": ("faithfulness", "mechcausal.circuits.features.kept"),
    "Laddering": ("ladder", "mechcausal.causal.scrubbing.scrub"),
    "Lensing": ("lens", "mechcausal.inspection.lens"),
    "Linking": ("link", "mechcausal.links.linking"),
    "Masking": ("mask", "mechcausal.causal.alignment.masks"),
    "Measuring": ("measure", "mechcausal.patching.measuring"),
    "Mediating": ("mediate", "mechcausal.causal.mediation.mediate"),
    "Patching": ("patch", "mechcausal.patching.activation"),
    "PathEffecting": ("path_effects", "mechcausal.causal.mediation.paths"),
    "PathPatching": ("path_patch", "mechcausal.patching.path"),
    "ProbeSweeping": ("probe_sweep", "mechcausal.probes.sweep"),
    "Probing": ("probe", "mechcausal.probes.probing"),
    "ProbingSuite": ("probe_suite", "mechcausal.probes.answers"),
    "Reading": ("read", "mechcausal.patching.reading"),
    "Rediscovering": ("rediscover", "mechcausal.circuits.unique.rediscover"),
    "Screening": ("screen", "mechcausal.dictionaries.screening.screen"),
    "Scrubbing": ("scrub", "mechcausal.causal.scrubbing.scrub"),
    "SparseProbing": ("sparse_probes", "mechcausal.probes.sparse"),
    "Steering": ("steer", "mechcausal.steering.steering"),
    "Training": ("train", "mechcausal.causal.training.train"),
}


def read(data: Mapping[str, Any]) -> Method[Any, Any]:
    """Make a specification from its plain form: a mapping with the word of a method and its fields.

    Example:
        >>> import mechcausal as mc
        >>> mc.methods.read({"run": "patch", "sites": "z"}) == mc.methods.Patching(sites="z")
        True
    """
    from collections.abc import Mapping

    from mechcausal.method import read as read_plain

    word = data.get("run") if isinstance(data, Mapping) else None
    for method_word, home in _SPECS.values():
        if isinstance(word, str) and word == method_word:
            import_module(home)  # which makes the method known
            return read_plain(data)
    for _, home in _SPECS.values():
        import_module(home)  # so that an error can name the word that is meant
    return read_plain(data)


if not TYPE_CHECKING:  # a checker knows the names from above, and refuses any other
    __getattr__, __dir__ = lazy(
        __name__,
        {name: home for name, (_, home) in _SPECS.items()}
        | {"Cost": "mechcausal.method", "Method": "mechcausal.method"},
        "read",
    )
