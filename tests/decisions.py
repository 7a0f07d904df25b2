"""Decisions about groups, as counts: the published ones of COMPAS."""

# COMPAS, 7,214 rows, a score that is not low as the decision: counts alone, no person's data (ProPublica 2016).
COMPAS = {"African-American": (990, 805, 532, 1369), "Caucasian": (1139, 349, 461, 505)}  # tn, fp, fn, tp


def units(counts):
    """Return labels, decisions and groups with these counts."""
    rows = [
        (label, decision, group)
        for group, (tn, fp, fn, tp) in counts.items()
        for count, label, decision in ((tn, 0, 0), (fp, 0, 1), (fn, 1, 0), (tp, 1, 1))
        for _ in range(count)
    ]
    return [list(column) for column in zip(*rows, strict=True)]
