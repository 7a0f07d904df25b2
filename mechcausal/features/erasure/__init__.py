"""Erasure: take a concept out of activations, and measure whether it is gone."""

from mechcausal.features.erasure.erasing import Erasure as Erasure
from mechcausal.features.erasure.erasing import erase as erase
from mechcausal.features.erasure.fitting import fit_eraser as fit_eraser
from mechcausal.features.erasure.guardedness import Guardedness as Guardedness
from mechcausal.features.erasure.guardedness import guardedness as guardedness
