"""Which points are tried: domains, samplers that do not learn and samplers that do, objectives."""
