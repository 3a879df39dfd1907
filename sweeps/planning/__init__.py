"""From a sweep to packs: costs, memory, machines, cutting, forecasts."""
