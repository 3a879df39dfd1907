"""Sweep files: their tables, parts and rules, and the user's own files that they name."""
