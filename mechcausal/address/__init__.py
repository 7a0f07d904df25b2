"""The language of *where*: sites (component x layer x head or neuron), selections (which positions), and places (both).

    L3.resid_post          a whole activation             @-1        the last token of each prompt
    L9.z.H6                one head                       @3:7       tokens 3 to 6
    L9.result.H6           what it adds to attn_out       @subject   the position each prompt calls "subject"
    L2.mlp_post.N17        one neuron                     @all       every token (the default)
    embed, logits          no layer

    L2.resid_post.sae:NAME        all features of a dictionary that is attached to the model under this name
    L2.resid_post.sae:NAME.F17    one feature
    L2.resid_post.sae:NAME.error  what the dictionary does not reconstruct

    L9.z.H6@-1             a place: a site at a selection

`*` stands for every layer, head or neuron when a site is *expanded* over a model (`L*.z.H*`), and a bare component word
means all of it (`resid_pre`, `z`). Hook names as transformer-lens writes them (`blocks.3.hook_resid_post`) are read as
sites. Everything here is pure: no model.
"""

from mechcausal.address.components import COMPONENTS as COMPONENTS
from mechcausal.address.components import GLOBAL_COMPONENTS as GLOBAL_COMPONENTS
from mechcausal.address.components import HEAD_COMPONENTS as HEAD_COMPONENTS
from mechcausal.address.components import KV_COMPONENTS as KV_COMPONENTS
from mechcausal.address.components import VECTOR_COMPONENTS as VECTOR_COMPONENTS
from mechcausal.address.patterns import SiteSpec as SiteSpec
from mechcausal.address.patterns import expand as expand
from mechcausal.address.place import Place as Place
from mechcausal.address.place import Vector as Vector
from mechcausal.address.place import vector as vector
from mechcausal.address.selection import ALL as ALL
from mechcausal.address.selection import Selection as Selection
from mechcausal.address.site import DictionaryShape as DictionaryShape
from mechcausal.address.site import ModelShape as ModelShape
from mechcausal.address.site import Site as Site
