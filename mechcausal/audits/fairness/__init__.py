"""Questions of fairness."""

from mechcausal.audits.fairness.benchmark import Benchmark as Benchmark
from mechcausal.audits.fairness.benchmark_items import BenchmarkSource as BenchmarkSource
from mechcausal.audits.fairness.controlled import ControlledEffect as ControlledEffect
from mechcausal.audits.fairness.entity_swaps import EntitySwaps as EntitySwaps
from mechcausal.audits.fairness.flips import Flips as Flips
from mechcausal.audits.fairness.group_gaps import GroupGaps as GroupGaps
from mechcausal.audits.fairness.mediation import Mediation as Mediation
from mechcausal.audits.fairness.path_effect import PathEffect as PathEffect
