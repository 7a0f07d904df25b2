"""What is done at a site: frozen specs (`specs`) and their one implementation (`apply`)."""

from mechcausal.interventions.specs import Add as Add
from mechcausal.interventions.specs import Edit as Edit
from mechcausal.interventions.specs import Erase as Erase
from mechcausal.interventions.specs import Intervention as Intervention
from mechcausal.interventions.specs import Mean as Mean
from mechcausal.interventions.specs import Patch as Patch
from mechcausal.interventions.specs import Project as Project
from mechcausal.interventions.specs import Resample as Resample
from mechcausal.interventions.specs import Scale as Scale
from mechcausal.interventions.specs import Set as Set
from mechcausal.interventions.specs import Zero as Zero
