"""Packs on Ray: the driver's side, the workers' side, clusters and jobs."""
