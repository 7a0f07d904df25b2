"""Questions about explanations: are circuits and attributions faithful, and do they predict interventions?"""

from mechcausal.audits.explaining.validity import InterventionalValidity as InterventionalValidity
