"""The diagnosis finds nothing wrong here, and names the command that mends what is."""

from mechcausal.catalog import ADAPTERS, ORGANISMS
from mechcausal.report import doctor


def test_nothing_is_wrong_here():
    checks = {check.topic: check for check in doctor.diagnose()}
    assert not any(check.fix for check in checks.values())
    assert checks["organisms"].finding == ", ".join(f"organism:{name}" for name in ORGANISMS)
    assert checks["adapters"].finding == ", ".join(f"organism:{name}" for name in ADAPTERS)


def test_the_command_that_mends(monkeypatch):
    versions = {"torch": None, "transformer-lens": "4.3.0", "sae-lens": "6.54.0"}
    installed = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: versions.get(name, installed(name)))
    checks = {check.topic: check for check in doctor.diagnose()}
    assert checks["torch"].fix == "pip install torch"
    assert "cannot be imported beside" in checks["pairing"].finding
    assert "fix: " in str(checks["pairing"])
