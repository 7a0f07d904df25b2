"""A small byte-level tokenizer, trained here: words behind a space have tokens of their own, rare words several."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

TEXT = (
    "The nurse said that he gave the book to the man and she gave the ring to the woman . "
    "When Mary and John went to the store , John gave a drink to Mary . Then Tom and Anna were at the park , and Tom said . "
    "The flight attendant said that the doctor hoped that she knew him . " * 4
)


@cache
def reader():
    """Return something with a tokenizer, as `Contrast.read` takes it."""
    import transformers as hf
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    fast = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")
    return SimpleNamespace(tokenizer=fast, cfg=SimpleNamespace(default_prepend_bos=True))
