"""Checkpoints: what a training needs to go on where it stopped, in files that are whole or refused."""
