"""The page of a search: its scales, charts, tables and the file that is rewritten while the search is at work."""
