"""The life of a run: begun, planned on, told, exported."""
