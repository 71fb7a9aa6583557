"""Stage 2: the D-Cube classifier on frozen features, its controls, and the baselines."""
