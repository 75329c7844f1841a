"""Named entity recognition for languages without labels, learned from parallel text."""

import os

__version__ = "0.1.0"

# OpenMP reads this once, when torch is loaded. Threads that spin while they wait are harmless
# alone, but here actors share cores: two spinning pools slow each other down tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
