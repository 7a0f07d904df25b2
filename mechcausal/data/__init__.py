"""Prompts and contrasts, causal models, and the tasks that draw from them."""

from mechcausal.data.contrast import Contrast as Contrast
from mechcausal.data.prompts import PromptSet as PromptSet
from mechcausal.data.prompts import pad as pad
from mechcausal.data.scm import SCM as SCM
from mechcausal.data.tasks import contrast as contrast
from mechcausal.data.tasks import task as task
from mechcausal.data.tasks.definition import Task as Task
