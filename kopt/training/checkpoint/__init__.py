"""Checkpoints: a run that is killed anywhere and started again ends with the same bits as one that was not."""
