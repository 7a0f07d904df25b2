"""The tables of attention."""

import mechcausal as mc


def test_tables_and_pictures():
    model = mc.load("organism:induction")
    seen = mc.attention(model, mc.task("induction").prompts(model, 8), heads=["L0.z.H0", "L1.z.H1"])
    table = seen.pattern("L1.pattern.H1")
    assert list(table.index) == list(table.columns)
    assert set(seen.patterns["head"]) == {"L0.pattern.H0", "L1.pattern.H1"}
    assert seen.patterns.groupby(["head", "query"])["weight"].sum().round(4).eq(1).all()
    assert "previous" in seen.summary()
    assert len(seen.grids()) == 2
    assert not seen.normalized
    assert "<svg" in seen._repr_html_()
