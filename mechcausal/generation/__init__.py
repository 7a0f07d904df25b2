"""Write text under edits, token by token, with a cache of keys and values."""

from mechcausal.generation.directions import load_direction as load_direction
from mechcausal.generation.directions import save_direction as save_direction
from mechcausal.generation.generated import Generated as Generated
from mechcausal.generation.generating import Generating as Generating
from mechcausal.generation.generating import generate as generate
