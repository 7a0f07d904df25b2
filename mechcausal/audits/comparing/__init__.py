"""Comparisons: two reports, finding by finding, and two models, place by place."""

from mechcausal.audits.comparing.models import compare_models as compare_models
from mechcausal.audits.comparing.reports import Comparison as Comparison
from mechcausal.audits.comparing.reports import compare as compare
from mechcausal.audits.comparing.sites import ModelComparison as ModelComparison
