"""Causal models of what a network does, and the methods that test them inside it."""

from mechcausal.causal.clamping import controlled as controlled
from mechcausal.causal.hypothesis import Hypothesis as Hypothesis
from mechcausal.causal.hypothesis import Part as Part
from mechcausal.causal.mediation import mediate as mediate
from mechcausal.causal.paths import path_effects as path_effects
from mechcausal.causal.scrubbed import Scrubbed as Scrubbed
from mechcausal.causal.scrubbing import ladder as ladder
from mechcausal.causal.scrubbing import plan as plan
from mechcausal.causal.scrubbing import scrub as scrub
from mechcausal.causal.tree import EXACT as EXACT
from mechcausal.causal.tree import Node as Node
from mechcausal.data.scm import SCM as SCM
from mechcausal.data.tasks.definition import Task as Task
