"""Tools around training: a rate test, a bare minimization, statistics anew."""
