"""What the tables show: regions, boundaries, effects, importance; each with its interval."""
