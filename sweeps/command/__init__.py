"""The commands: what they take, do and show."""
