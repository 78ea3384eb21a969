"""Engines: each computes in a child process; stages see base.LoadedModel."""
