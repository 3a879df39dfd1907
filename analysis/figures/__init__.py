"""The figures of the report: one module each, listed in `registry`, which alone imports them all."""
