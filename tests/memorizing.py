"""Small networks that are trained here, which the self-test knows."""

from mechcausal.audits.selftest.memorizing import *  # noqa: F403 - one place for them
