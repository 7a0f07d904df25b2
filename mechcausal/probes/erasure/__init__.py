"""Erasure: take a concept out of activations, and measure whether it is gone."""

from mechcausal.probes.erasure.erasing import Erasing as Erasing
from mechcausal.probes.erasure.erasing import Erasure as Erasure
from mechcausal.probes.erasure.erasing import erase as erase
from mechcausal.probes.erasure.fitting import fit_eraser as fit_eraser
from mechcausal.probes.erasure.guardedness import Guardedness as Guardedness
from mechcausal.probes.erasure.guardedness import Guarding as Guarding
from mechcausal.probes.erasure.guardedness import guardedness as guardedness
