"""Options that may hold several names."""

from mechcausal.cli.options import names_in


def test_names_come_one_by_one_or_with_commas_between():
    assert names_in(None) is None
    assert names_in([]) == []
    assert names_in(["eap, exact", "acdc", " ,"]) == ["eap", "exact", "acdc"]
