"""What each edge and each sender contributes: estimates from gradients, and the exact effect."""

# Each of these registers its scorers.
from mechcausal.circuits.scores import chance as chance
from mechcausal.circuits.scores import exact as exact
from mechcausal.circuits.scores import flow as flow
from mechcausal.circuits.scores import gradients as gradients
from mechcausal.circuits.scores import star as star
from mechcausal.circuits.scores.scored import SCORERS as SCORERS
from mechcausal.circuits.scores.scored import Scored as Scored
from mechcausal.circuits.scores.scored import Scoring as Scoring
from mechcausal.circuits.search import acdc as acdc
from mechcausal.circuits.search import pruning as pruning
