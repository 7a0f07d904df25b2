"""Links: which candidates carry a concept, which of them the behavior uses, and what nothing looks like."""

from mechcausal.links.candidates import Candidate as Candidate
from mechcausal.links.candidates import Directions as Directions
from mechcausal.links.candidates import directions as directions
from mechcausal.links.linking import link as link
from mechcausal.links.result import Links as Links
