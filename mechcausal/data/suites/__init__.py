"""Pairs for any tokenizer: tasks that are written here, and benchmarks that ship with their licenses (`files/README.md`).

`mc.contrast("ioi", model, n=200)` draws from them. A name with a factor, such as `ioi/order`, is a task of an organism
(`mechcausal.data.tasks`); the names here have none, or are those of a benchmark.
"""

from mechcausal.data.suites.drawing import FOLDER as FOLDER
from mechcausal.data.suites.drawing import SUITES as SUITES
from mechcausal.data.suites.drawing import draw as draw
