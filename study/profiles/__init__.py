"""Measurements of a stack at one moment, layer by layer: what a profile is, how a family is measured."""
