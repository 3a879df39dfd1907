"""Stacks of networks: one contract (`model`), and the families that keep it."""
