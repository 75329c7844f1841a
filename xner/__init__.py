"""Named entity recognition for languages without labels, learned from parallel text."""

import os

__version__ = "0.1.0"

# OpenMP reads this once, when torch is loaded. Threads that spin while they wait are harmless
# alone, but here actors share cores: two spinning pools slow each other down tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Ray reads this once, when it is imported. Its processes say how loud they are before they know it.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "logging.cc:[0-9]+: Set ray log level")
