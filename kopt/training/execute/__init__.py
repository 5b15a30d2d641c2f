"""Executors: ways to run the traced step over a chunk."""
