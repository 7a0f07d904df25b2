"""A small word-level tokenizer for the models of the zoo."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from zoo import VOCAB


def words_tokenizer(folder=None, bos=True):
    words = {f"w{i}": i for i in range(3, VOCAB)} | {"<pad>": 0, "<bos>": 1, "<eos>": 2}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<bos>"} if bos else {}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", **special)
    if folder is not None:
        fast.save_pretrained(folder)
    return fast
