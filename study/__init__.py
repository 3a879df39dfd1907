"""The science: networks stacked along a trials axis, gradients measured at any depth, training, labels.

Needs torch and numpy alone (jaxtyping's annotations are optional), so that a machine with nothing but torch
can run and benchmark it. Nothing here knows Ray, Optuna, Polars or files of results.
"""
