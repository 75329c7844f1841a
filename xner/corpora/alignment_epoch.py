"""What one epoch of training shows of the alignment examples.

Three things change from epoch to epoch, each a pure function of examples and seed. Origins of very
different size are drawn in shares of one's choice. Names are asked for that are not in the text
(Li, He and Xu 2021), so that the aligner learns to find nothing: any other names, names that look
like one that is there, and names that share a word with one that is. And texts and names are varied
where the place in the text stays known: in case, and, for a name that stands letter for letter in
the text, shortened to its last word, to initials or to an acronym; a name whose forms the examples
show ("Moskau", "Moskaus") changes from one form to another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np

from xner.config import AugmentationConfig, NegativesMix
from xner.corpora.alignment_set import AlignmentExample
from xner.corpora.names import exchanged
from xner.errors import ConfigError
from xner.text.words import segment

# An example is shown at most so often in one epoch, however large the share of its origin.
MAX_REPEATS = 4

# A drawn name that is or may be in the text after all is replaced, but not for ever.
_DRAWS = 5

Generator = np.random.Generator
T = TypeVar("T")


def origin_weights(
    examples: Iterable[AlignmentExample], mix: Mapping[str, float]
) -> dict[str, float]:
    """The weight of every origin among the examples; equal ones where ``mix`` is empty.

    Raises ConfigError where ``mix`` leaves one out, names one that no example has, or leaves none.
    """
    there = sorted({example.origin for example in examples})
    if not mix:
        return dict.fromkeys(there, 1.0)
    found = f"the examples have {', '.join(there)}"
    for origin in mix:
        if origin not in there:
            raise ConfigError(f"mix.{origin}: no example is of this origin; {found}")
    for origin in there:
        if origin not in mix:
            raise ConfigError(f"mix: no weight for {origin}; {found}; 0 leaves an origin out")
    if not any(mix.values()):
        raise ConfigError("mix: every weight is 0, so nothing is left to train on")
    return {origin: mix[origin] for origin in there}


def origin_counts(sizes: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, int]:
    """How many examples of each origin an epoch has: as many in all as there are, by weight.

    An origin gives at most ``MAX_REPEATS`` times what it has; the others share what it cannot give.
    """
    counts = dict.fromkeys(sizes, 0)
    left = float(sum(sizes.values()))
    sharing = [origin for origin in sizes if weights[origin] > 0]
    while sharing:
        unit = left / sum(weights[origin] for origin in sharing)
        full = [o for o in sharing if unit * weights[o] > MAX_REPEATS * sizes[o]]
        if not full:
            return counts | {origin: round(unit * weights[origin]) for origin in sharing}
        counts |= {origin: MAX_REPEATS * sizes[origin] for origin in full}
        left -= sum(counts[origin] for origin in full)
        sharing = [origin for origin in sharing if origin not in full]
    return counts


def mixed(
    examples: Sequence[AlignmentExample], weights: Mapping[str, float], seed: Sequence[int]
) -> list[AlignmentExample]:
    """The examples of an epoch, drawn as ``origin_counts`` says and in the order of the set.

    Each is there as often as all others of its origin, or once more. The same arguments give the
    same examples.
    """
    rows: dict[str, list[int]] = {origin: [] for origin in sorted(weights)}
    for row, example in enumerate(examples):
        rows[example.origin].append(row)
    sizes = {origin: len(of_origin) for origin, of_origin in rows.items()}
    generator = np.random.default_rng(seed)
    times = np.zeros(len(examples), dtype=np.int64)
    for origin, count in origin_counts(sizes, weights).items():
        if sizes[origin]:
            repeats, rest = divmod(count, sizes[origin])
            times[rows[origin]] = repeats
            times[generator.permutation(rows[origin])[:rest]] += 1
    return [examples[row] for row in np.repeat(np.arange(len(examples)), times).tolist()]


@lru_cache(maxsize=65_536)
def _words(name: str) -> frozenset[str]:
    """The words of a name that tell it from others, case-folded: not those in lower case."""
    words = [name[start:end] for start, end in segment(name)]
    return frozenset(w.casefold() for w in words if w[0].isalnum() and not w.islower())


def _shape(name: str) -> tuple[str, ...]:
    """What a name looks like: how each of its words begins, and which are all capitals."""
    return tuple(map(_look, name.split()))


def _look(word: str) -> str:
    if len(word) > 1 and word.isupper():
        return "AA"
    return "Aa" if word[0].isupper() else "0" if word[0].isdigit() else "a"


@dataclass(frozen=True)
class Names:
    """The distinct names of each language, and every form in which a name was seen in a text.

    ``alike``: names by language, origin and shape; ``sharing``: names of several words by language
    and each of their words; ``forms``: by language and name.
    """

    by_lang: Mapping[str, Sequence[str]]
    alike: Mapping[tuple[str, str, tuple[str, ...]], Sequence[str]]
    sharing: Mapping[tuple[str, str], Sequence[str]]
    forms: Mapping[tuple[str, str], Sequence[str]]

    @classmethod
    def of(cls, examples: Iterable[AlignmentExample]) -> Names:
        forms: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        origins: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for example in examples:
            for name, spans in zip(example.names, example.spans, strict=True):
                forms[example.lang, name].update(example.text[start:end] for start, end in spans)
                origins[example.lang, name].add(example.origin)
        by_lang: defaultdict[str, list[str]] = defaultdict(list)
        alike: defaultdict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
        sharing: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for lang, name in sorted(forms):
            by_lang[lang].append(name)
            for origin in sorted(origins[lang, name]):
                alike[lang, origin, _shape(name)].append(name)
            for word in _words(name) if len(_words(name)) > 1 else ():
                sharing[lang, word].append(name)
        return cls(by_lang, alike, sharing, {key: sorted(seen) for key, seen in forms.items()})

    def draw(
        self, example: AlignmentExample, mix: NegativesMix, generator: Generator
    ) -> str | None:
        """A name that stands in the text in none of its known forms; None where none was found.

        Where there is no name of the kind that ``mix`` and chance ask for, it is any name.
        """
        text = example.text.casefold()
        for pool in (self._pool(example, mix, generator), self.by_lang.get(example.lang, ())):
            for _ in range(_DRAWS if pool else 0):
                name = _any_of(pool, generator)
                forms = (name, *self.forms[example.lang, name])
                if not any(form.casefold() in text for form in forms) and not any(
                    _may_be_the_same(name, other) for other in example.names
                ):
                    return name
        return None

    def _pool(
        self, example: AlignmentExample, mix: NegativesMix, generator: Generator
    ) -> Sequence[str]:
        """Names of a kind that is drawn by ``mix``, for a name of the example drawn at random."""
        point = generator.random() * (mix.anywhere + mix.alike + mix.shared_word) - mix.anywhere
        if point < 0 or not example.names:
            return self.by_lang.get(example.lang, ())
        name = _any_of(example.names, generator)
        if point < mix.alike:
            return self.alike.get((example.lang, example.origin, _shape(name)), ())
        groups = [self.sharing.get((example.lang, word), ()) for word in sorted(_words(name))]
        # A group of one is the name itself.
        groups = [group for group in groups if len(group) > 1]
        return _any_of(groups, generator) if groups else ()


def _may_be_the_same(first: str, second: str) -> bool:
    """Whether one name has all words of the other: "Smith" and "John Smith" may be one man."""
    a, b = _words(first), _words(second)
    return first == second or (bool(a and b) and (a <= b or b <= a))


def with_negatives(
    examples: Sequence[AlignmentExample],
    names: Names,
    share: float,
    mix: NegativesMix,
    seed: Sequence[int],
) -> list[AlignmentExample]:
    """The examples with names added that are not in the text, and all names in random order.

    For each name of an example one is added with probability ``share``; an example without a name
    counts as having one. The same arguments give the same examples.
    """
    generator = np.random.default_rng(seed)
    asked = []
    for example in examples:
        added = dict.fromkeys(
            drawn
            for _ in range(generator.binomial(max(len(example.names), 1), share))
            if (drawn := names.draw(example, mix, generator)) is not None
        )
        pairs = [*zip(example.names, example.spans, strict=True), *((name, ()) for name in added)]
        order = generator.permutation(len(pairs))
        asked.append(
            replace(
                example,
                names=tuple(pairs[index][0] for index in order),
                spans=tuple(pairs[index][1] for index in order),
            )
        )
    return asked


def augmented(
    examples: Sequence[AlignmentExample],
    names: Names,
    shares: AugmentationConfig,
    seed: Sequence[int],
) -> list[AlignmentExample]:
    """The examples, some of them varied as the module says; ``shares`` says how many of each kind.

    What cannot be varied without doubt about the places stays as it is. The same arguments give the
    same examples.
    """
    kinds: list[tuple[float, Callable[[AlignmentExample, Generator], AlignmentExample]]] = [
        (shares.form, lambda example, generator: _in_another_form(example, names, generator)),
        (shares.last_word, lambda e, g: _shortened(e, _last_word, _TEXT, g)),
        (shares.initials, lambda e, g: _shortened(e, _initials, _EITHER, g)),
        (shares.acronym, lambda e, g: _shortened(e, _acronym, _EITHER, g)),
        (shares.case, _recased),
    ]
    generator = np.random.default_rng(seed)
    varied = []
    for example in examples:
        for share, vary in kinds:
            if share and generator.random() < share:
                example = vary(example, generator)
        varied.append(example)
    return varied


def _recased(example: AlignmentExample, generator: Generator) -> AlignmentExample:
    """The text, its names or both in lower case or in capitals; for other scripts nothing."""
    changes: list[Callable[[str], str]] = [str, str.lower, str.upper]
    of_text, of_names = divmod(int(generator.integers(1, 9)), 3)
    names = tuple(_with_same_length(name, changes[of_names]) for name in example.names)
    if len(set(names)) < len(names):
        return example
    return replace(example, text=_with_same_length(example.text, changes[of_text]), names=names)


def _with_same_length(text: str, change: Callable[[str], str]) -> str:
    """The text with every character changed whose change is one character: not "ß" to "SS"."""
    changed = change(text)
    if len(changed) == len(text):
        return changed
    return "".join(new if len(new := change(char)) == 1 else char for char in text)


def _in_another_form(
    example: AlignmentExample, names: Names, generator: Generator
) -> AlignmentExample:
    """One name in another form in which the examples have it, at all its places."""
    choices = [
        (name, form)
        for name, spans in zip(example.names, example.spans, strict=True)
        for form in (names.forms.get((example.lang, name), ()) if spans else ())
        if form.casefold() not in example.text.casefold()
        and not any(
            form in names.forms.get((example.lang, o), ()) for o in example.names if o != name
        )
    ]
    if not choices or _overlap(example):
        return example
    name, form = _any_of(choices, generator)
    return exchanged(example, {name: (name, form)})


# Which of text and name are shortened. "Smith" is not asked for where "John Smith" stands: which
# words of it are the name's place would be a matter of opinion.
_TEXT = ((True, False), (True, True))
_EITHER = (*_TEXT, (False, True))


def _shortened(
    example: AlignmentExample,
    shorten: Callable[[str], str | None],
    sides: Sequence[tuple[bool, bool]],
    generator: Generator,
) -> AlignmentExample:
    """One name that stands letter for letter in the text shortened, there or where it is asked for.

    Nothing where the short form may mean something else that is in the text or asked for.
    """
    choices = [
        (name, short, len(spans))
        for name, spans in zip(example.names, example.spans, strict=True)
        if spans
        and all(example.text[start:end] == name for start, end in spans)
        and (short := shorten(name)) is not None
    ]
    if not choices or _overlap(example):
        return example
    name, short, num_places = _any_of(choices, generator)
    words = _words(name) | _words(short)
    if any(words & _words(other) for other in example.names if other != name):
        return example
    in_text, in_name = _any_of(sides, generator)
    changed = exchanged(example, {name: (short if in_name else name, short if in_text else name)})
    # A place that nobody marked would be denied, or the short form be a part of another word.
    is_clear = example.text.count(name) == num_places and (
        changed.text.count(short) == (num_places if in_text else 0)
    )
    return changed if is_clear else example


def _any_of(choices: Sequence[T], generator: Generator) -> T:
    return choices[int(generator.integers(len(choices)))]


def _overlap(example: AlignmentExample) -> bool:
    places = sorted(span for spans in example.spans for span in spans)
    return any(end > start for (_, end), (start, _) in pairwise(places))


def _last_word(name: str) -> str | None:
    """ "Smith" for "John Smith"."""
    *first, last = name.split()
    return last if first and len(last) > 1 and last[0].isupper() else None


def _initials(name: str) -> str | None:
    """ "J. Smith" for "John Smith"."""
    *first, last = name.split()
    if not first or not last[0].isupper() or not all(map(str.istitle, first)):
        return None
    return " ".join([*(f"{word[0]}." for word in first), last])


def _acronym(name: str) -> str | None:
    """ "BE" for "Bank of England"."""
    capitals = [word[0] for word in name.split() if word[0].isupper()]
    return "".join(capitals) if len(capitals) > 1 and len(name.split()) > 1 else None
