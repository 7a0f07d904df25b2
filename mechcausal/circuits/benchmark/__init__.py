"""How good methods of circuit discovery are: each of them on every organism whose circuit is known, and on a real model."""
