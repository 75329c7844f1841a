"""Training of taggers and aligners with Ray Train."""
