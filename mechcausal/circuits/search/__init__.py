"""Search the edges of a circuit: by their scores, by removing one after the other, by a mask that is learned."""
