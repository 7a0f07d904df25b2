"""Mitigations: edits of a model or of its prompts, and what they cost, on the same examples."""

from mechcausal.audits.mitigation.ablating import Ablate as Ablate
from mechcausal.audits.mitigation.ablating import MeanPath as MeanPath
from mechcausal.audits.mitigation.adapting import Adapter as Adapter
from mechcausal.audits.mitigation.controls import RandomDirections as RandomDirections
from mechcausal.audits.mitigation.controls import RandomSites as RandomSites
from mechcausal.audits.mitigation.controls import Unchanged as Unchanged
from mechcausal.audits.mitigation.erasing import Erase as Erase
from mechcausal.audits.mitigation.erasing import Steer as Steer
from mechcausal.audits.mitigation.prompting import Ask as Ask
from mechcausal.audits.mitigation.prompting import Delete as Delete
from mechcausal.audits.mitigation.spec import MITIGATIONS as MITIGATIONS
from mechcausal.audits.mitigation.spec import Mitigation as Mitigation
