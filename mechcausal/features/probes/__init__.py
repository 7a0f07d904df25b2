"""Probes: what can be read at a place, how easily, and what the controls reach."""

from mechcausal.features.probes.answers import SuiteResult as SuiteResult
from mechcausal.features.probes.answers import probe_suite as probe_suite
from mechcausal.features.probes.bayes import bayes_accuracy as bayes_accuracy
from mechcausal.features.probes.controls import online_code as online_code
from mechcausal.features.probes.controls import permutation_null as permutation_null
from mechcausal.features.probes.controls import selectivity as selectivity
from mechcausal.features.probes.fitted import Probe as Probe
from mechcausal.features.probes.fitted import Report as Report
from mechcausal.features.probes.held_out import HeldOut as HeldOut
from mechcausal.features.probes.held_out import cross_validate as cross_validate
from mechcausal.features.probes.kinds import KINDS as KINDS
from mechcausal.features.probes.kinds import Settings as Settings
from mechcausal.features.probes.labels import Labels as Labels
from mechcausal.features.probes.labels import labels_of as labels_of
from mechcausal.features.probes.probing import probe as probe
from mechcausal.features.probes.sparse import SparseProbes as SparseProbes
from mechcausal.features.probes.sparse import sparse_probes as sparse_probes
from mechcausal.features.probes.storage import load as load
from mechcausal.features.probes.suites import Question as Question
from mechcausal.features.probes.suites import Suite as Suite
from mechcausal.features.probes.suites import fairness as fairness
from mechcausal.features.probes.suites import mistakes as mistakes
from mechcausal.features.probes.suites import privacy as privacy
from mechcausal.features.probes.suites import suite as suite
from mechcausal.features.probes.sweep import ProbeSweep as ProbeSweep
from mechcausal.features.probes.sweep import probe_sweep as probe_sweep
