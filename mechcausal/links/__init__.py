"""Links: which candidates carry a concept, and which of them the behavior uses."""

from mechcausal.links.asking import answer as answer
from mechcausal.links.asking import questions as questions
from mechcausal.links.candidates import Candidate as Candidate
from mechcausal.links.candidates import Directions as Directions
from mechcausal.links.candidates import directions as directions
from mechcausal.links.linking import Linking as Linking
from mechcausal.links.linking import link as link
from mechcausal.links.result import Links as Links
