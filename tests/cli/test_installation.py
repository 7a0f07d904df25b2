"""`mechcausal doctor` and `mechcausal selftest`: what they print and how they end."""

from dataclasses import asdict

from commands import refused, run

from mechcausal.causal.selftest import Check
from mechcausal.report import doctor


def test_a_sound_installation_ends_with_zero():
    done = run("doctor")
    assert done.code == 0
    assert [line.split()[0] for line in done.output.splitlines()][:2] == ["python", "mechcausal"]
    assert [check["topic"] for check in run("doctor", "--json").document][:2] == ["python", "mechcausal"]


def test_what_is_missing_ends_with_one(monkeypatch):
    monkeypatch.setattr(doctor, "diagnose", lambda: [doctor.Check("torch", "missing", "pip install torch")])
    done = run("doctor")
    assert done.code == 1
    assert "fix: pip install torch" in done.output
    assert run("doctor", "--json").document == [{"topic": "torch", "finding": "missing", "fix": "pip install torch"}]


def test_one_failed_check_ends_with_one(monkeypatch):
    checks = [
        Check("by_hand", "by_hand", "a", 1.0, "1", True),
        Check("by_hand", "by_hand", "b", 0.0, "1", False),
    ]
    monkeypatch.setattr("mechcausal.causal.selftest.selftest", lambda names: iter(checks))
    done = run("selftest", "causal", "--organism", "by_hand")
    assert done.code == 1
    assert done.output.rstrip().endswith("1 of 2 checks passed")
    printed = run("selftest", "causal", "--organism", "by_hand", "--json")
    assert printed.code == 1
    assert printed.document == [asdict(check) for check in checks]


def test_an_adapter_has_no_self_test():
    said = refused("selftest", "causal", "--organism", "smollm2_bias")
    assert "there is no organism called 'smollm2_bias'" in said
