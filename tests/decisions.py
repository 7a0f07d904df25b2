"""Decisions about groups, as counts: the published ones of COMPAS, which the self-test knows."""

from mechcausal.audits.selftest.stored import COMPAS as COMPAS
from mechcausal.audits.selftest.stored import units as units
