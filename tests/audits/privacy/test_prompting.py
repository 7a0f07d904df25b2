"""What a desk does to texts before they are run."""

from dataclasses import replace

from words import words_tokenizer
from zoo import build

from mechcausal.audits.desk import Desk
from mechcausal.audits.privacy.prompting import bare_start, other_model, rewritten
from mechcausal.audits.running import about_model
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


def test_another_model_lies_beside_the_plan_and_is_loaded_once(hiring, tmp_path):
    build("llama").save_pretrained(tmp_path / "base")
    words_tokenizer().save_pretrained(tmp_path / "base")
    desk = Desk(hiring, {}, folder=tmp_path)
    loaded = other_model(desk, "base")
    assert about_model(loaded)["name"] == str(tmp_path / "base")
    assert other_model(desk, "base") is loaded
    assert other_model(desk, loaded) is loaded
