"""Circuits in the files of other tools: graphs of EAP-IG and MIB, attribution graphs, networkx and GraphML."""
