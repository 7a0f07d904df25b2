"""Causal scrubbing: does the network do what a hypothesis says, and nothing else?"""
