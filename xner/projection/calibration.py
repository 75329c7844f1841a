"""What a score is worth: it is calibrated where, of the labels with score 0.9, 90 % are right.

The aligner's probabilities are those of words; a label's score is the mean over its words, and what
it should tell is whether the whole span is right. So the temperature that divides the logits (Guo
et al. 2017) is fitted on spans as they are decoded, not on words. It moves no probability over 0.5,
so at that threshold it changes what a score means and not which words are marked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

# From a quarter to ten in steps of 10 %: the likelihood is flat at its top.
TEMPERATURES = tuple(float(t) for t in np.round(1.1 ** np.arange(-14, 25), 4))

# From fewer spans than these nothing is concluded.
MIN_SPANS = 50

# A probability in single precision is 1 from a logit of 17 on.
_SMALLEST = 1e-7


def tempered(
    probabilities: npt.NDArray[np.floating], temperature: float
) -> npt.NDArray[np.float64]:
    """The probabilities, any shape, with their logits divided by ``temperature``."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _SMALLEST, 1 - _SMALLEST)
    return 1 / (1 + ((1 - p) / p) ** (1 / temperature))


def fit_temperature(
    scored: Callable[[float], tuple[Sequence[float], Sequence[bool]]],
) -> float:
    """The temperature under which scores predict best which spans are right; 1 for too few spans.

    ``scored`` gives for a temperature the scores of the spans that are found, and whether each is
    right. Minimises the negative log-likelihood towards the smoothed targets of Platt (1999), which
    keep the score of spans that happen to be all right from going to 1.
    """
    if len(scored(1.0)[0]) < MIN_SPANS:
        return 1.0
    return min(TEMPERATURES, key=lambda temperature: _loss(*scored(temperature)))


def _loss(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Mean negative log-likelihood."""
    p = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    is_right = np.asarray(right, dtype=bool)
    num_right, num_wrong = is_right.sum(), (~is_right).sum()
    target = np.where(is_right, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))
    return float(-np.mean(target * np.log(p) + (1 - target) * np.log(1 - p)))


def calibration_error(scores: Sequence[float], right: Sequence[bool], num_bins: int = 10) -> float:
    """Expected calibration error (Naeini et al. 2015) over bins of equal width; 0 for no spans.

    The mean, weighted by size, over bins of |mean score - share of right spans|.
    """
    if not scores:
        return 0.0
    p, is_right = np.asarray(scores), np.asarray(right, dtype=np.float64)
    bins = np.minimum((p * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, weights=p - is_right)
    return float(np.abs(gaps).sum() / len(p))
