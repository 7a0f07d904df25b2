"""Look inside: what a lens reads in the stream and whether it is used, and where heads attend."""

from mechcausal.inspection.attending import Attending as Attending
from mechcausal.inspection.attending import attention as attention
from mechcausal.inspection.attention_result import Attention as Attention
from mechcausal.inspection.lens import Lensing as Lensing
from mechcausal.inspection.lens import lens as lens
from mechcausal.inspection.lens_result import Lens as Lens
from mechcausal.inspection.repeats import repeated as repeated
