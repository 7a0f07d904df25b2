"""Results with a chart of their own draw it, and single columns as heatmaps."""

import numpy as np

from mechcausal.results.charted import Charted
from mechcausal.results.charts import bar_chart
from mechcausal.results.provenance import Provenance
from mechcausal.results.table import tabulate


class Two(Charted):
    def chart(self):
        rows = [(row["site"], row["change"], row["change_low"], row["change_high"]) for _, row in self.frame.iterrows()]
        return bar_chart(rows, "two <cells>", "change")


def test_the_chart_is_what_is_drawn():
    where = [
        {"site": f"L{i}.mlp_out", "component": "mlp_out", "layer": i, "at": "@all", "label": "all"} for i in range(2)
    ]
    examples = np.random.default_rng(0).normal(size=(2, 10))
    base = {"base": np.zeros(10)}
    provenance = Provenance("two", {"metric": "m"}, {}, {}, {})
    found = Two(tabulate(where, examples, base), provenance, examples, base)
    assert [trace.type for trace in found.plot().data] == ["bar"]
    assert [trace.type for trace in found.plot("change").data] == ["heatmap"]
    page = found._repr_html_()
    assert "two &lt;cells&gt;" in page
    assert "<svg" in page
    assert "2 cells" in page
