"""The exact engine: the numbers of the loop over hooks, without computing again what cannot have changed.

                     positions ->
                  0   1   2   3   4   5
      layer 0     .   .   .   .   .   .        .  taken from the unedited run
      layer 1     .   .   .   X   .   .        X  the edit: layer 1, position 3
      layer 2     .   .   .   #   #   #        #  computed again
      layer 3     .   .   .   #   #   #        R  the logits that the metric reads
      logits      .   .   .   .   .   R

A change at one place moves only later layers, and in a causal model only the same and later positions. So each edit
becomes a change of the residual stream at the first layer after it (`changes`), examples that it does not change are
answered without a run, and the others join one stack of rows as it passes their layer (`stacks`), with the keys and
values left of them taken from the unedited run (`twin`). Where a cell has edits at several activations, or one that
cannot be carried to the end of its layer, the later ones are made on the stack itself (`inside`). Edits that begin at
nearly the same position share a stack where a few more tokens cost less than one more call. Only the position that the
metric reads is unembedded and passes the last MLP, and of the vocabulary only the columns it asks for (`meter`).
`evaluate` does all this for one batch; path patching and attribution build on the same parts in their own room.

Nothing is written down for any architecture. Each model is compared with the loop once, component by component
(`verify`); what does not agree is left to the loop.
"""
