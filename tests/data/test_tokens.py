"""From text to tokens: one BOS, places as tokens, answers of one token."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import mechcausal as mc
from mechcausal.data.tokens import encode, encode_all, position_of, single_token, tokenizer_of, unknown_words
from mechcausal.errors import DataError

WORDS = ["<pad>", "<bos>", "un", "##happy", "Anna", "is", "very", "[CLS]", "[SEP]"]


def make(*, adds=None, bos="<bos>"):
    """Return a tokenizer of word pieces, so that a word can be two tokens."""
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if adds:
        names = [word for word in adds.split() if word != "$A"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=adds, special_tokens=[(name, WORDS.index(name)) for name in names]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<pad>", bos_token=bos)


@pytest.mark.parametrize("adds", [None, "<bos> $A"])
def test_bos_leads_exactly_once_or_not_at_all(adds):
    tokenizer = make(adds=adds)
    ids, spans = encode(tokenizer, "Anna is", bos=True)
    assert ids == [1, 4, 5]
    assert spans == [(0, 0), (0, 4), (5, 7)]
    ids, spans = encode(tokenizer, "Anna is", bos=False)
    assert ids == [4, 5]
    assert spans == [(0, 4), (5, 7)]


def test_a_tokenizer_without_bos_keeps_its_own_frame():
    tokenizer = make(adds="[CLS] $A [SEP]", bos=None)
    assert encode(tokenizer, "Anna is", bos=True)[0] == [7, 4, 5, 8]
    assert encode(tokenizer, "Anna is", bos=False)[0] == [7, 4, 5, 8]


@pytest.mark.parametrize(
    ("place", "position"),
    [("Anna", 1), ("unhappy", 5), ("un", 4), (0, 1), (3, 5), ((13, 15), 4), ((13, 20), 5), ("is very", 3)],
)
def test_a_place_is_its_last_token(place, position):
    text = "Anna is very unhappy"
    ids, spans = encode(make(), text, bos=True)
    assert ids == [1, 4, 5, 6, 2, 3]
    assert position_of(spans, text, place) == position


def test_the_second_of_two_equal_words():
    text = "is Anna is very"
    assert position_of(encode(make(), text, bos=True)[1], text, 2) == 3


@pytest.mark.parametrize(
    ("place", "said"), [("Otto", "does not occur"), (7, "has no word 7"), ((90, 95), "does not lie in")]
)
def test_a_place_that_is_not_there(place, said):
    text = "Anna is"
    with pytest.raises(DataError, match=said):
        position_of(encode(make(), text, bos=True)[1], text, place)


def test_answers_are_one_token():
    tokenizer = make(adds="<bos> $A")
    assert single_token(tokenizer, "Anna") == 4
    assert single_token(tokenizer, 3) == 3
    with pytest.raises(DataError, match=r"'unhappy' is 2 tokens \(got \['un', '##happy'\]; expected one token\)"):
        single_token(tokenizer, "unhappy")
    with pytest.raises(DataError, match="unknown to the tokenizer"):
        single_token(tokenizer, "Otto")


def test_a_model_without_a_tokenizer():
    with pytest.raises(DataError, match=r"mc\.load\(model, tokenizer=\.\.\.\)"):
        tokenizer_of(object())


def test_words_that_the_tokenizer_does_not_know_are_refused_by_name():
    tokenizer = make(adds="<bos> $A")
    with pytest.raises(
        DataError, match=r"does not know 'Otto', 'sad' in prompt 1 \(got 'Otto is sad Otto'\)"
    ) as caught:
        encode_all(tokenizer, ["Anna is", "Otto is sad Otto"], bos=True)
    assert len(str(caught.value)) < 400
    with pytest.raises(DataError, match="'Otto' in prompt 0, and words of 2 other prompts"):
        encode_all(tokenizer, ["Otto", "Anna", "Otto", "Eva"], bos=True)
    long = " ".join(f"{'x' * 200}{i}" for i in range(50))
    with pytest.raises(DataError, match="and 47 more in prompt 0") as caught:
        encode_all(tokenizer, [long], bos=True)
    assert len(str(caught.value)) < 400


def test_the_name_of_the_unknown_token_and_added_ones_are_no_unknown_words():
    tokenizer = make(adds="<pad> $A <pad>", bos=None)  # the token for unknown words is also one that is added
    texts = ["Anna is", "Anna <pad> is"]
    assert [ids for ids, _ in encode_all(tokenizer, texts, bos=True)] == [[0, 4, 5, 0], [0, 4, 0, 5, 0]]


def test_a_tokenizer_in_python_says_its_unknown_words_too():
    class Slow:
        is_fast, unk_token, unk_token_id = False, "[UNK]", 9

        def tokenize(self, text):
            return text.split()

        def convert_tokens_to_ids(self, word):
            return {"Anna": 4, "[UNK]": 9}.get(word, 9)

    assert unknown_words(Slow(), "Anna [UNK] Otto", [4, 9, 9], [(0, 0)] * 3) == ["Otto"]
    assert unknown_words(Slow(), "Anna", [4], [(0, 0)]) == []


def test_prompts_and_contrasts_refuse_unknown_words(by_hand):
    with pytest.raises(DataError, match="does not know 'shee' in prompt 1"):
        mc.PromptSet.from_text(by_hand, ["she low ask", "shee low ask"], answer="yes")
    with pytest.raises(DataError, match="does not know 'hi' in prompt 0"):
        mc.Contrast.from_text(by_hand, ["she low ask"], ["hi low ask"], answer="yes", foil="no")
