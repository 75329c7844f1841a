"""The order of the stages, and the two ways to run them: a plain loop and Ray Data."""
