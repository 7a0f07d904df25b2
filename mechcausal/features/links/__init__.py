"""Links: which candidates carry a concept, which of them the behavior uses, and what nothing looks like."""

from mechcausal.features.links.candidates import Candidate as Candidate
from mechcausal.features.links.candidates import Directions as Directions
from mechcausal.features.links.candidates import directions as directions
from mechcausal.features.links.linking import link as link
from mechcausal.features.links.result import Links as Links
