"""What `kopt.autotune` is made of: settings and their recipes, proposals, costs, and the result."""
