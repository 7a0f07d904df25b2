"""How a card looks: tags that are closed, texts that stay texts, shades and bars that say what the numbers are."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from reading_html import parsed

from mechcausal.address import Site
from mechcausal.dictionaries.cards.card import Card, Context, Spread
from mechcausal.dictionaries.cards.page import fragment, histogram, page


@pytest.fixture
def found():
    effect = {"metric": "loss", "group": "all", "base": 1.0, "change": 0.25, "low": 0.125, "high": 0.375, "n": 6}
    return Card(
        site=Site.parse("L1.resid_post.sae:small.F3"),
        facts={"model": "tiny", "dictionary": "small"},
        tokens=40,
        active=0.25,
        largest=2.0,
        contexts=(Context(("a", "b"), (0.0, 2.0), "", (False, False)),),
        edges=(0.0, 1.0, 2.0),
        spreads=(Spread("all", 0.25, 1.2, (7, 3), 40), Spread("few", 0.1, 0.5, (2, 0), 20)),
        logits=pd.DataFrame({"token": ["x", "y"], "direct": [0.5, -0.5]}),
        neighbors=pd.DataFrame({"feature": [7], "cosine": [0.5], "active": [0.1]}),
        effects=pd.DataFrame([effect]),
        do="zero",
    )


def test_prompts_cannot_write_html(found):
    evil = '<script>alert("&")</script>'
    context = Context((evil, "b"), (1.0, 0.0), "<b>group", (False, False))
    spread = replace(found.spreads[0], group="<i>x")
    told = replace(found, contexts=(context,), spreads=(spread,), facts={"model": "<u>"}, largest=1.0)
    told.logits.loc[0, "token"] = evil
    read = parsed(page(told))
    assert not {"script", "b", "i", "u"} & set(read.seen)
    assert evil in read.text


def test_the_shade_is_the_activation(found):
    context = Context(("none", "half", "full"), (0.0, 0.5, 1.0), "", (True, False))
    drawn = fragment(replace(found, contexts=(context,), largest=1.0))
    shades = dict(re.findall(r'rgba\(240,150,40,([\d.]+)\)(?:;color:#111)?" title="[\d.]+">(\w+)<', drawn))
    assert {word: float(shade) for shade, word in shades.items()} == {
        "half": pytest.approx(0.575, abs=0.01),
        "full": 1.0,
    }
    assert "\u2026" in drawn


def test_the_histogram_draws_every_bin_that_is_not_empty(found):
    drawn = histogram(found)
    assert drawn.count("<rect") == sum(count > 0 for spread in found.spreads for count in spread.counts)


def test_the_numbers_are_printed(found):
    text = " ".join(parsed(page(found)).text)
    for part in ("active on 25.00% of 40 tokens", "F7", "+0.250", "[+0.125, +0.375]", "setting it to zero"):
        assert part in text
