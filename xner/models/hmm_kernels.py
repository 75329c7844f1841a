"""The inner loops of :mod:`xner.models.hmm`, compiled by numba.

They start no threads: who calls them cuts the work into pieces and decides how many run at a time.

A bitext is flat arrays: ``source`` and ``target`` are the word ids of all sentences in a row,
``*_starts`` say where each sentence begins (one more entry than sentences). The cells of a sentence
are its pairs of words, source word by source word; ``cells`` says where each sentence's begin.
"""

from __future__ import annotations

import numpy as np

from xner.models.compiled import kernel

# Jumps further than this are all the same.
MAX_JUMP = 40
NUM_JUMPS = 2 * MAX_JUMP + 1

# A larger sentence pair is linked word by word without regard to their order: the HMM takes time
# in proportion to the cells times the longer side, and memory to its square.
MAX_HMM_CELLS = 250_000
MAX_HMM_WORDS = 2_000


@kernel("int64(int32, int32)")
def _hash(source_word, target_word):
    mixed = (np.int64(source_word) << 32 | np.int64(target_word)) * np.int64(-7046029254386353131)
    return mixed >> 29


@kernel(
    "Tuple((int32[::1], int32[::1], int32[::1]))"
    "(int32[::1], int64[::1], int32[::1], int64[::1], int64[::1])"
)
def word_pairs(source, source_starts, target, target_starts, cells):
    """The distinct pairs of words that share a sentence: each cell's pair, each pair's two words.

    Pairs are numbered as they first occur. The hash table is doubled whenever it is half full.
    """
    slots = np.empty(cells[-1], np.int32)
    capacity = 1 << 12
    mask = 2 * capacity - 1
    table = np.full(2 * capacity, -1, np.int32)
    pair_source = np.empty(capacity, np.int32)
    pair_target = np.empty(capacity, np.int32)
    size = 0
    cell = 0
    for sentence in range(len(cells) - 1):
        for i in range(source_starts[sentence], source_starts[sentence + 1]):
            for j in range(target_starts[sentence], target_starts[sentence + 1]):
                place = _hash(source[i], target[j]) & mask
                slot = table[place]
                while slot >= 0 and (
                    pair_source[slot] != source[i] or pair_target[slot] != target[j]
                ):
                    place = (place + 1) & mask
                    slot = table[place]
                if slot < 0:
                    slot = size
                    pair_source[slot] = source[i]
                    pair_target[slot] = target[j]
                    table[place] = slot
                    size += 1
                slots[cell] = slot
                cell += 1
                if size == capacity:
                    capacity *= 2
                    mask = 2 * capacity - 1
                    table = np.full(2 * capacity, -1, np.int32)
                    pair_source = np.concatenate((pair_source, np.empty(size, np.int32)))
                    pair_target = np.concatenate((pair_target, np.empty(size, np.int32)))
                    for known in range(size):
                        place = _hash(pair_source[known], pair_target[known]) & mask
                        while table[place] >= 0:
                            place = (place + 1) & mask
                        table[place] = known
    return slots, pair_source[:size].copy(), pair_target[:size].copy()


@kernel("float32[::1](int32[::1], int32[::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def dice(pair_source, pair_target, source_grams, source_starts, target_grams, target_starts):
    """The Dice coefficient of the two words' letter bigrams, for each pair of words.

    The bigrams of word n stand sorted at ``starts[n]`` to ``starts[n + 1]``. Two words of which
    one has fewer than three bigrams are the same (1) or not (0).
    """
    scores = np.zeros(len(pair_source), np.float32)
    for pair in range(len(pair_source)):
        a, a_end = source_starts[pair_source[pair]], source_starts[pair_source[pair] + 1]
        b, b_end = target_starts[pair_target[pair]], target_starts[pair_target[pair] + 1]
        total = a_end - a + b_end - b
        is_short = a_end - a < 3 or b_end - b < 3
        shared = 0
        while a < a_end and b < b_end:
            if source_grams[a] == target_grams[b]:
                shared += 1
                a += 1
                b += 1
            elif source_grams[a] < target_grams[b]:
                a += 1
            else:
                b += 1
        if is_short:
            scores[pair] = 1.0 if 2 * shared == total else 0.0
        else:
            scores[pair] = 2.0 * shared / total
    return scores


@kernel("float32[::1](int32[::1], int32[::1], int64[::1], int32[::1], float32[::1])")
def look_up(source_words, target_words, row_starts, row_words, values):
    """The value of each pair of words in a sparse matrix, 0 where it has none.

    Row n of the matrix holds the columns ``row_words[row_starts[n]:row_starts[n + 1]]``, ascending.
    A negative word is one that the matrix does not know.
    """
    found = np.zeros(len(source_words), np.float32)
    for pair in range(len(source_words)):
        word = target_words[pair]
        if source_words[pair] < 0 or word < 0:
            continue
        low, high = row_starts[source_words[pair]], row_starts[source_words[pair] + 1]
        end = high
        while low < high:
            middle = (low + high) // 2
            if row_words[middle] < word:
                low = middle + 1
            else:
                high = middle
        if low < end and row_words[low] == word:
            found[pair] = values[low]
    return found


@kernel("void(float64[:, ::1], float64[::1], float64, float64[::1], float64[:, ::1], float64[::1])")
def forward_backward(emissions, null_emissions, p_null, jumps, posteriors, expected_jumps):
    """Posteriors of an HMM whose states are the words of one side and that emits the other side.

    A word is emitted by a state (``emissions`` [emitted word, state]) or, with probability
    ``p_null``, by the null state that remembers the last state (``null_emissions`` [emitted word]).
    The next state depends on its distance alone: ``jumps`` [NUM_JUMPS], made to sum to 1 over the
    sentence. Before the first word the state is one to the left of the sentence.

    ``posteriors`` [emitted word, state] is written; the expected number of jumps of each width is
    added to ``expected_jumps`` [NUM_JUMPS]. Rabiner 1989, scaled.

    The innermost loops run along rows and keep no sum of their own: such loops become vector
    instructions without any change to the order of sums.
    """
    num_words, num_states = emissions.shape
    emitted = np.empty((num_words, num_states))
    skipped = np.empty((num_words, num_states))
    scales = np.empty(num_words)
    transitions = np.empty((num_states, num_states))
    transposed = np.empty((num_states, num_states))
    for i in range(num_states):
        total = 0.0
        for k in range(num_states):
            transitions[i, k] = jumps[min(max(k - i, -MAX_JUMP), MAX_JUMP) + MAX_JUMP]
            total += transitions[i, k]
        for k in range(num_states):
            transitions[i, k] /= total
            transposed[k, i] = transitions[i, k]
    previous = np.empty(num_states)
    total = 0.0
    for i in range(num_states):
        previous[i] = jumps[min(i + 1, MAX_JUMP) + MAX_JUMP]
        total += previous[i]
    previous /= total
    arriving = np.empty(num_states)
    for j in range(num_words):
        if j == 0:
            arriving[:] = previous
        else:
            arriving[:] = 0.0
            for i in range(num_states):
                p = previous[i]
                if p > 1e-9:
                    for k in range(num_states):
                        arriving[k] += p * transitions[i, k]
        scale = 0.0
        for i in range(num_states):
            emitted[j, i] = arriving[i] * emissions[j, i] * (1.0 - p_null)
            skipped[j, i] = previous[i] * p_null * null_emissions[j]
            scale += emitted[j, i] + skipped[j, i]
        scale = max(scale, 1e-300)
        scales[j] = scale
        for i in range(num_states):
            emitted[j, i] /= scale
            skipped[j, i] /= scale
            previous[i] = emitted[j, i] + skipped[j, i]

    # Posteriors of two states in a row, summed over the words; the probability of the transition,
    # a factor of each, comes in the end.
    moved = np.zeros((num_states, num_states))
    beta = np.ones(num_states)
    following = np.empty(num_states)
    weights = np.empty(num_states)
    for j in range(num_words - 1, -1, -1):
        total = 0.0
        for i in range(num_states):
            total += (emitted[j, i] + skipped[j, i]) * beta[i]
        total = max(total, 1e-300)
        for i in range(num_states):
            posteriors[j, i] = emitted[j, i] * beta[i] / total
        if j == 0:
            break
        for k in range(num_states):
            weights[k] = emissions[j, k] * beta[k] * (1.0 - p_null) / scales[j]
        following[:] = 0.0
        for k in range(num_states):
            for i in range(num_states):
                following[i] += transposed[k, i] * weights[k]
        for i in range(num_states):
            beta[i] = following[i] + beta[i] * p_null * null_emissions[j] / scales[j]
        weights /= total
        for i in range(num_states):
            p = emitted[j - 1, i] + skipped[j - 1, i]
            if p > 1e-6:
                for k in range(num_states):
                    moved[i, k] += p * weights[k]
    for i in range(num_states):
        for k in range(num_states):
            width = min(max(k - i, -MAX_JUMP), MAX_JUMP) + MAX_JUMP
            expected_jumps[width] += transitions[i, k] * moved[i, k]


@kernel(
    "void(int32[::1], int64[::1], int32[::1], int64[::1], int64[::1], int32[::1],"
    " float32[::1], float32[::1], float32[::1], float32[::1], float64, float64[:, ::1],"
    " boolean, int64, int64, float32[::1], float32[::1], float64[:, ::1])"
)
def link_posteriors(
    source,
    source_starts,
    target,
    target_starts,
    cells,
    slots,
    forward_table,
    backward_table,
    target_null,
    source_null,
    p_null,
    jumps,
    ordered,
    first,
    last,
    forward,
    backward,
    expected_jumps,
):
    """Posteriors of the links of sentences ``first`` to ``last``, one for each cell.

    ``forward`` is written by the model in which source words emit the target, ``backward`` by the
    other; of IBM model 1, or of the HMM where ``ordered``. ``forward_table`` holds p(target word |
    source word) of each pair of words, ``backward_table`` the reverse; ``target_null`` and
    ``source_null`` the null state's probability of each word. ``jumps`` and ``expected_jumps`` are
    [2, NUM_JUMPS], forward and backward.
    """
    origin = cells[first]
    for sentence in range(first, last):
        start = cells[sentence] - origin
        num_source = source_starts[sentence + 1] - source_starts[sentence]
        num_target = target_starts[sentence + 1] - target_starts[sentence]
        source_words = source[source_starts[sentence] : source_starts[sentence + 1]]
        target_words = target[target_starts[sentence] : target_starts[sentence + 1]]
        small = num_source * num_target <= MAX_HMM_CELLS
        if ordered and small and max(num_source, num_target) <= MAX_HMM_WORDS:
            to_target = np.empty((num_target, num_source))
            to_source = np.empty((num_source, num_target))
            for i in range(num_source):
                for j in range(num_target):
                    slot = slots[cells[sentence] + i * num_target + j]
                    to_target[j, i] = forward_table[slot]
                    to_source[i, j] = backward_table[slot]
            null_target = np.empty(num_target)
            null_source = np.empty(num_source)
            for j in range(num_target):
                null_target[j] = target_null[target_words[j]]
            for i in range(num_source):
                null_source[i] = source_null[source_words[i]]
            of_target = np.empty((num_target, num_source))
            of_source = np.empty((num_source, num_target))
            forward_backward(to_target, null_target, p_null, jumps[0], of_target, expected_jumps[0])
            forward_backward(to_source, null_source, p_null, jumps[1], of_source, expected_jumps[1])
            for i in range(num_source):
                for j in range(num_target):
                    forward[start + i * num_target + j] = of_target[j, i]
                    backward[start + i * num_target + j] = of_source[i, j]
            continue
        for j in range(num_target):
            total = p_null * target_null[target_words[j]] * num_source / (1.0 - p_null)
            for i in range(num_source):
                total += forward_table[slots[cells[sentence] + i * num_target + j]]
            for i in range(num_source):
                cell = i * num_target + j
                forward[start + cell] = forward_table[slots[cells[sentence] + cell]] / total
        for i in range(num_source):
            total = p_null * source_null[source_words[i]] * num_target / (1.0 - p_null)
            for j in range(num_target):
                total += backward_table[slots[cells[sentence] + i * num_target + j]]
            for j in range(num_target):
                cell = i * num_target + j
                backward[start + cell] = backward_table[slots[cells[sentence] + cell]] / total


@kernel("float64(int32[::1], float32[::1], float32[::1], boolean, float64[::1], float64[::1])")
def add_counts(slots, forward, backward, agree, forward_counts, backward_counts):
    """Add the cells' posteriors to the counts of their pairs of words.

    Where the directions ``agree`` their product is added, to ``forward_counts`` alone. Returns the
    sum of the products.
    """
    links = 0.0
    for cell in range(len(slots)):
        both = forward[cell] * backward[cell]
        links += both
        if agree:
            forward_counts[slots[cell]] += both
        else:
            forward_counts[slots[cell]] += forward[cell]
            backward_counts[slots[cell]] += backward[cell]
    return links


@kernel("float32[::1](float64[::1], float32[::1], int32[::1], int64)")
def normalize(counts, base, owners, num_owners):
    """``counts + base`` of each pair of words as a share of all that its owner, a word, has."""
    totals = np.zeros(num_owners)
    for pair in range(len(counts)):
        totals[owners[pair]] += counts[pair] + base[pair]
    shares = np.empty(len(counts), np.float32)
    for pair in range(len(counts)):
        shares[pair] = (counts[pair] + base[pair]) / totals[owners[pair]]
    return shares
