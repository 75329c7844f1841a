"""From alignment scores to labelled sentences: pure functions."""
