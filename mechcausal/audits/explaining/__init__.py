"""Questions about explanations: are circuits and attributions faithful, and do they predict interventions?"""

from mechcausal.audits.explaining.concept_effect import ConceptEffect as ConceptEffect
from mechcausal.audits.explaining.faithfulness import CircuitSource as CircuitSource
from mechcausal.audits.explaining.faithfulness import Faithfulness as Faithfulness
from mechcausal.audits.explaining.observational import Observational as Observational
from mechcausal.audits.explaining.rationale import Rationale as Rationale
from mechcausal.audits.explaining.restoration import Restoration as Restoration
from mechcausal.audits.explaining.validity import InterventionalValidity as InterventionalValidity
