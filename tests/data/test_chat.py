"""Chats as the tokenizer's template writes them."""

import pytest

import mechcausal as mc
from mechcausal.data.chat import AsWritten, written_out
from mechcausal.errors import DataError

TEMPLATE = "{% for m in messages %}{{ '<bos> ' if loop.first }}{{ m['content'] }} {% endfor %}{{ 'red' if add_generation_prompt }}"


@pytest.fixture
def chatty(monkeypatch):
    model = mc.load("organism:induction")
    monkeypatch.setattr(model.tokenizer, "chat_template", TEMPLATE, raising=False)
    return model


def test_the_template_decides(chatty):
    prompts = mc.PromptSet.from_chat(
        chatty, ["blue gold", [{"role": "user", "content": "white"}]], system="gray", reply=" pink"
    )
    assert prompts.texts == ("<bos> gray blue gold red pink", "<bos> gray white red pink")
    ids = chatty.tokenizer.convert_tokens_to_ids(["<bos>", "gray", "blue", "gold", "red", "pink"])
    assert prompts.real_tokens[0] == ids
    assert written_out(chatty, ["blue"])[1]
    assert AsWritten(chatty).tokenizer.bos_token == "<bos>"


def test_bad_chats_are_one_sentence(chatty):
    with pytest.raises(DataError, match="no chat template"):
        mc.PromptSet.from_chat(mc.load("organism:hiring"), ["hello"])
    with pytest.raises(mc.MechcausalError, match="a list of chats"):
        mc.PromptSet.from_chat(chatty, "blue")
    with pytest.raises(DataError, match="leave out bos"):
        mc.PromptSet.from_chat(chatty, ["blue"], bos=True)
    chatty.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match="refuses chat 0: roles must alternate"):
        mc.PromptSet.from_chat(chatty, ["blue"])
