"""Prompts and contrasts, and the tasks that draw them."""

from mechcausal.data.contrast import Contrast as Contrast
from mechcausal.data.contrast import contrast as contrast
from mechcausal.data.prompts import PromptSet as PromptSet
from mechcausal.data.prompts import pad as pad
