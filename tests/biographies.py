"""Biographies by hand, which the self-test knows: a model whose decision is a formula."""

from mechcausal.audits.selftest.biographies import *  # noqa: F403 - the truth stands in one place
