"""Applicants as tokens for the relatives of organism:hiring, and what bare models decide about them."""

import torch
from transformers import GPT2LMHeadModel

from mechcausal.data.tasks import hiring as task
from mechcausal.organisms import folder
from mechcausal.recipes import hiring as kin

N = 500
DECISION = torch.full((N,), 7)
IDS = [kin.WORDS[word] for word in task.DECISIONS]


def bare(name):
    return GPT2LMHeadModel.from_pretrained(folder(name) / "weights").eval()


def tokens_of(table):
    rows = [["<bos>", *text.split()] for text in task.application(table)]
    return torch.tensor([[kin.WORDS[word] for word in row] for row in rows])


def decided(logits):
    return logits[:, 7, IDS].argmax(-1).numpy()
