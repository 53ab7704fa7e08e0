"""Particles offered to the tracker: choice, multiplicity, helix at the perigee."""
