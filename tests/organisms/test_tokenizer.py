"""The word-level tokenizer: one word, one token, one BOS."""

from transformers import AutoTokenizer

from mechcausal.organisms.tokenizer import save_tokenizer, word_tokenizer

VOCABULARY = ("<pad>", "<bos>", "he", "she", "yes")


def test_ids_are_the_places_of_the_words():
    tokenizer = word_tokenizer(VOCABULARY, longest=8)
    assert tokenizer("she yes  he")["input_ids"] == [1, 3, 4, 2]
    assert tokenizer("he who")["input_ids"] == [1, 2, 0]  # an unknown word
    assert tokenizer.decode([3, 4]) == "she yes"
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) == (1, 0, 0)
    assert tokenizer.model_max_length == 8


def test_a_saved_tokenizer_is_the_same(tmp_path):
    save_tokenizer(VOCABULARY, tmp_path, longest=8)
    again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    for text in ("he", "she yes he", ""):
        assert again(text)["input_ids"] == word_tokenizer(VOCABULARY, longest=8)(text)["input_ids"]
