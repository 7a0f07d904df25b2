"""Change one activation at a time, exactly or by gradients, and measure what that does to the behavior."""

from mechcausal.face import shown
from mechcausal.patching.ablation import Ablating as Ablating
from mechcausal.patching.ablation import ablate as ablate
from mechcausal.patching.activation import Patching as Patching
from mechcausal.patching.activation import SweepCost as SweepCost
from mechcausal.patching.activation import patch as patch
from mechcausal.patching.attribution import Attributing as Attributing
from mechcausal.patching.attribution import attribute as attribute
from mechcausal.patching.measuring import Measured as Measured
from mechcausal.patching.measuring import Measuring as Measuring
from mechcausal.patching.measuring import measure as measure
from mechcausal.patching.path import PathPatching as PathPatching
from mechcausal.patching.path import path_patch as path_patch
from mechcausal.patching.projection import DirectAttributing as DirectAttributing
from mechcausal.patching.projection import direct_logit_attribution as direct_logit_attribution
from mechcausal.patching.reading import Reading as Reading
from mechcausal.patching.reading import Readings as Readings
from mechcausal.patching.reading import read as read

__dir__ = shown(globals())
