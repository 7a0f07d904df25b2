"""Look inside: what a lens reads in the stream and whether it is used, and where heads attend."""

from mechcausal.inspection.lens import Lens as Lens
from mechcausal.inspection.lens import Lensing as Lensing
from mechcausal.inspection.lens import lens as lens
from mechcausal.inspection.repeats import repeated as repeated
