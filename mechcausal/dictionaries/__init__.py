"""Dictionaries: trained, kept in folders, loaded, and measured on your own prompts."""
