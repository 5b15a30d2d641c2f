"""A trial: what is trained, judged and kept of it."""
