"""Audits: questions with their controls, a plan fixed before the run, findings, and the report. `mc.audit` is its face."""
