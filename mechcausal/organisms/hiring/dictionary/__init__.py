"""The dictionary that ships with organism:hiring: its recipe, and the folder it makes."""
