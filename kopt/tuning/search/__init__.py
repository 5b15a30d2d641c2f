"""A search: its study, its storage, and who runs its trials."""
