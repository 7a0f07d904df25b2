"""What a desk does to texts before they are run."""

from dataclasses import replace

from mechcausal.audits.desk import Desk
from mechcausal.audits.privacy.prompting import bare_start, rewritten
from mechcausal.data import PromptSet


def test_texts_are_as_they_were_without_a_mitigation(hiring):
    assert rewritten(Desk(hiring, {}), ["<id> adam <key>"]) == ("<id> adam <key>",)


def test_texts_are_as_the_mitigation_writes_them(hiring):
    def masked(prompts):
        return PromptSet.from_text(hiring, [text.replace("adam", "boris") for text in prompts.texts])

    desk = replace(Desk(hiring, {}), rewrite=masked)
    assert rewritten(desk, ["<id> adam <key>"]) == ("<id> boris <key>",)


def test_a_text_starts_from_the_bos_token(hiring):
    assert bare_start(hiring) == ""
