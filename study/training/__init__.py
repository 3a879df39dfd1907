"""Training of packs: the pack, the engine that does its steps, and the back ends behind that."""
