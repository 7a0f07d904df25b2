"""Probes: what can be read at a place, how easily, and what the controls reach."""

from mechcausal.probes.answers import SuiteResult as SuiteResult
from mechcausal.probes.answers import probe_suite as probe_suite
from mechcausal.probes.bayes import bayes_accuracy as bayes_accuracy
from mechcausal.probes.controls import online_code as online_code
from mechcausal.probes.controls import permutation_null as permutation_null
from mechcausal.probes.controls import selectivity as selectivity
from mechcausal.probes.fitted import Probe as Probe
from mechcausal.probes.fitted import Report as Report
from mechcausal.probes.held_out import HeldOut as HeldOut
from mechcausal.probes.held_out import cross_validate as cross_validate
from mechcausal.probes.kinds import KINDS as KINDS
from mechcausal.probes.kinds import Settings as Settings
from mechcausal.probes.labels import Labels as Labels
from mechcausal.probes.labels import labels_of as labels_of
from mechcausal.probes.probing import probe as probe
from mechcausal.probes.sparse import SparseProbes as SparseProbes
from mechcausal.probes.sparse import sparse_probes as sparse_probes
from mechcausal.probes.storage import load as load
from mechcausal.probes.suites import Question as Question
from mechcausal.probes.suites import Suite as Suite
from mechcausal.probes.suites import fairness as fairness
from mechcausal.probes.suites import mistakes as mistakes
from mechcausal.probes.suites import privacy as privacy
from mechcausal.probes.suites import suite as suite
from mechcausal.probes.sweep import ProbeSweep as ProbeSweep
from mechcausal.probes.sweep import probe_sweep as probe_sweep
