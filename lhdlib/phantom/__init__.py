"""Synthetic studies in the archive's own layout, with their truth; nothing of the method is imported here."""
