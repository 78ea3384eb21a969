"""Slices of the scorecard: items, what is asked of a model, judges, paired figures."""
