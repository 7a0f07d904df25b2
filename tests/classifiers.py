"""Small random classifiers and reward models of transformers."""

from __future__ import annotations

import torch
import transformers as hf
from zoo import GQA, SIZES

LABELS = ("fine", "toxic")


def named(labels=LABELS):
    """Return the options of a configuration with these labels."""
    return {"id2label": dict(enumerate(labels)), "label2id": {name: number for number, name in enumerate(labels)}}


def classifier(labels=LABELS, **sizes):
    """Return an encoder with a head of these labels, the same whenever it is asked for."""
    torch.manual_seed(0)
    return hf.BertForSequenceClassification(hf.BertConfig(**{**SIZES, **sizes}, **named(labels))).eval()


def rewarding():
    """Return a decoder with a head of one number."""
    torch.manual_seed(0)
    return hf.LlamaForSequenceClassification(hf.LlamaConfig(**SIZES, **GQA, num_labels=1)).eval()
