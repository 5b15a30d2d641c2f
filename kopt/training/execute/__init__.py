"""Executors: how the traced step is run over a chunk."""
