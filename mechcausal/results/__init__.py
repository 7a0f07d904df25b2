"""Results: tidy tables with provenance; they plot, save and load without the model."""

from mechcausal.results.provenance import Provenance as Provenance
from mechcausal.results.result import Result as Result
from mechcausal.results.result import load as load
