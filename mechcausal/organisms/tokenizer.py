"""The word-level tokenizer of the organisms: each word is one token, and each text begins with one BOS token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

PAD, BOS = "<pad>", "<bos>"


def word_tokenizer(vocabulary: Sequence[str], *, longest: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer in which the id of a word is its index in `vocabulary`."""
    words = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, words[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=PAD, unk_token=PAD, model_max_length=longest
    )


def save_tokenizer(vocabulary: Sequence[str], folder: Path, *, longest: int) -> None:
    """Write the tokenizer of a vocabulary to a folder."""
    word_tokenizer(vocabulary, longest=longest).save_pretrained(folder)
