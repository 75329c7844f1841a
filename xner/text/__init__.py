"""Mentions, words and tags: pure functions of strings, standard library only."""
