"""Sweeps of vanishing and exploding gradients."""
