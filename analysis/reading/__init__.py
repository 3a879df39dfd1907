"""From files to tables: where runs stand, their trials, cells and panels."""
