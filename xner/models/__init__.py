"""Encoders, taggers and aligners on torch: lists of strings in, numpy out."""
