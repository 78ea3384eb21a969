"""Metrics: numpy in, Estimate out."""
