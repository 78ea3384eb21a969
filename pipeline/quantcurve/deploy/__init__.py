"""Bundles that run without quantcurve, and are checked against what was measured."""
