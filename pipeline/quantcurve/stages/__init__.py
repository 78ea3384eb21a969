"""Stages of a run: plain functions of explicit inputs through the store."""
