"""State a causal model of what a network does, and test it inside the network by the methods listed here."""

from mechcausal.address import Place as Place
from mechcausal.causal.alignment.aligned import Aligned as Aligned
from mechcausal.causal.alignment.das import das as das
from mechcausal.causal.alignment.exchange import exchange as exchange
from mechcausal.causal.alignment.interchange import Interchange as Interchange
from mechcausal.causal.alignment.interchange import interchange as interchange
from mechcausal.causal.alignment.interchange import interchange_sweep as interchange_sweep
from mechcausal.causal.alignment.masks import Masked as Masked
from mechcausal.causal.alignment.masks import mask as mask
from mechcausal.causal.alignment.search import untrained as untrained
from mechcausal.causal.hypothesis import Hypothesis as Hypothesis
from mechcausal.causal.mediation.controlled import Controlled as Controlled
from mechcausal.causal.mediation.controlled import controlled as controlled
from mechcausal.causal.mediation.mediate import Mediation as Mediation
from mechcausal.causal.mediation.mediate import mediate as mediate
from mechcausal.causal.mediation.paths import PathEffects as PathEffects
from mechcausal.causal.mediation.paths import path_effects as path_effects
from mechcausal.causal.scrubbing.scrub import ladder as ladder
from mechcausal.causal.scrubbing.scrub import scrub as scrub
from mechcausal.causal.scrubbing.scrubbed import Scrubbed as Scrubbed
from mechcausal.causal.scrubbing.tree import EXACT as EXACT
from mechcausal.causal.scrubbing.tree import Node as Node
from mechcausal.causal.scrubbing.wrong import wrong_hypotheses as wrong_hypotheses
from mechcausal.causal.training.assessment import assess as assess
from mechcausal.causal.training.lessons import Lesson as Lesson
from mechcausal.causal.training.train import Trained as Trained
from mechcausal.causal.training.train import train as train
from mechcausal.data.scm import SCM as SCM
from mechcausal.data.tasks.definition import Task as Task
from mechcausal.face import shown

__dir__ = shown(globals())
