"""IOB2 tags as a strict view of mentions on words, and the dialects that corpora are written in.

``B-X`` opens a mention of type X, ``I-X`` continues one, ``O`` is outside (Tjong Kim Sang and
Veenstra 1999). Strict means that an ``I-X`` that continues nothing is an error here, never a
guess; what models predict goes through :func:`repair` first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from xner.text.mentions import Mention
from xner.text.words import Span, words_in

Scheme = Literal["iob2", "iob1", "iobes", "bilou"]

OUTSIDE = "O"
# Not a tag: that nobody says what the word is, so that nothing is learned from it.
UNKNOWN = "?"

# What IOBES (S, E) and BILOU (U, L) call a mention's only and last word, as IOB2 writes it.
_AS_IOB2 = {"S": "B", "U": "B", "E": "I", "L": "I"}
PREFIXES = "".join(["BI", *_AS_IOB2])


def split_tag(tag: str, prefixes: str = "BI") -> tuple[str, str]:
    """Prefix and type of a tag; the type of ``O`` is empty.

    Raises ValueError for what is no tag with one of the prefixes.
    """
    if tag == OUTSIDE:
        return tag, ""
    prefix, _, label = tag.partition("-")
    if len(prefix) != 1 or prefix not in prefixes or not label:
        expected = ", ".join(f"{prefix}-TYPE" for prefix in prefixes)
        raise ValueError(f"{tag!r} is not a tag; expected O, {expected}")
    return prefix, label


def tags_of(labels: Iterable[str]) -> list[str]:
    """The tags of entity types, in the order of a model's labels: O, B-X, I-X, B-Y, ..."""
    return [OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in "BI")]


def inside(tag: str) -> str:
    """The tag of whatever goes on with what this one marks: ``I-X`` for ``B-X``."""
    prefix, label = split_tag(tag)
    return f"I-{label}" if label else prefix


def renamed(tag: str, label_map: Mapping[str, str]) -> str:
    """The tag with its type as the map has it.

    ``O`` there, or nothing, drops the type; of ``?``, what its words are is not known.
    """
    prefix, label = split_tag(tag)
    target = label_map.get(label, OUTSIDE)
    return target if target in (OUTSIDE, UNKNOWN) else f"{prefix}-{target}"


def encode(mentions: Iterable[Mention], words: Sequence[Span]) -> list[str]:
    """The IOB2 tag of each word; a word belongs to the mention that it overlaps.

    Tags are coarser than mentions: a word that two mentions share goes to the first in the text,
    and the second has what is left.
    Raises ValueError when mentions overlap, or when one covers no word.
    """
    tags = [OUTSIDE] * len(words)
    previous: Mention | None = None
    next_free = 0
    for mention in sorted(mentions):
        if previous is not None and mention.start < previous.end:
            raise ValueError(f"mentions overlap: {previous} and {mention}")
        covered = words_in(mention.start, mention.end, words)
        if not covered:
            raise ValueError(f"{mention} covers none of the {len(words)} words")
        first = max(covered.start, next_free)
        for index in range(first, covered.stop):
            tags[index] = f"{'B' if index == first else 'I'}-{mention.label}"
        previous, next_free = mention, covered.stop
    return tags


def decode(
    tags: Sequence[str], words: Sequence[Span], scores: Sequence[float] | None = None
) -> list[Mention]:
    """The mentions that strict IOB2 tags mark; a mention's score is the mean of its words'.

    Raises ValueError, naming the position, for tags that are not valid IOB2.
    """
    if len(tags) != len(words):
        raise ValueError(f"{len(tags)} tags for {len(words)} words")
    if scores is not None and len(scores) != len(words):
        raise ValueError(f"{len(scores)} scores for {len(words)} words")
    return [
        Mention(
            start=words[first][0],
            end=words[last - 1][1],
            label=label,
            score=1.0 if scores is None else float(sum(scores[first:last])) / (last - first),
        )
        for first, last, label in chunks(tags)
    ]


def chunks(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Each mention of a strict IOB2 sequence as first word, word after the last, type.

    Raises ValueError, naming the position, for tags that are not valid IOB2.
    """
    first, open_label = 0, ""
    for index, tag in enumerate(tags):
        prefix, label = split_tag(tag)
        if prefix == "I" and label == open_label:
            continue
        if prefix == "I":
            raise ValueError(
                f"position {index}: {tag!r} after {tags[index - 1] if index else 'the start'!r} "
                "is not valid IOB2"
            )
        if open_label:
            yield first, index, open_label
        first, open_label = index, label
    if open_label:
        yield first, len(tags), open_label


def repair(tags: Iterable[str]) -> list[str]:
    """Valid IOB2 from B, I and O in any order: an ``I-`` that continues nothing becomes ``B-``.

    The same rule reads IOB1, where ``B-`` only parts neighbours of one type, and I-only tags.
    """
    repaired: list[str] = []
    open_label = ""
    for tag in tags:
        prefix, label = split_tag(tag)
        repaired.append(f"B-{label}" if prefix == "I" and label != open_label else tag)
        open_label = label
    return repaired


def detect_scheme(sequences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme of the tags of a file; one sequence is seldom enough to tell.

    IOB1, of which I-only tags are a case, is found where it fits and IOB2 does not. Whether IOB2
    fits is left to :func:`to_iob2`, which names the place. Raises ValueError for what is no tag,
    and for prefixes of several schemes.
    """
    prefixes: set[str] = set()
    is_iob2 = is_iob1 = True
    for tags in sequences:
        open_label = ""
        for tag in tags:
            prefix, label = split_tag(tag, PREFIXES)
            prefixes.add(prefix)
            continues = label == open_label
            is_iob2 &= continues or prefix != "I"
            is_iob1 &= continues or prefix != "B"
            open_label = label
    closing = prefixes & _AS_IOB2.keys()
    if not closing:
        return "iob1" if is_iob1 and not is_iob2 else "iob2"
    if closing <= {"S", "E"}:
        return "iobes"
    if closing <= {"U", "L"}:
        return "bilou"
    raise ValueError(f"no scheme has the prefixes {', '.join(sorted(prefixes))} together")


def to_iob2(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """A sequence of tags of the given scheme in IOB2.

    Raises ValueError, naming the position, when the tags are not valid in that scheme.
    """
    if scheme == "iob1":
        return repair(tags)
    converted = list(tags) if scheme == "iob2" else _from_closed(tags)
    for _ in chunks(converted):
        pass
    return converted


def _from_closed(tags: Sequence[str]) -> list[str]:
    """From IOBES or BILOU, which mark a mention's last word: one may be found unfinished."""
    converted: list[str] = []
    unfinished = False
    for index, tag in enumerate(tags):
        prefix, label = split_tag(tag, PREFIXES)
        if unfinished != (prefix in ("I", "E", "L")):
            raise ValueError(f"position {index}: {tag!r} does not follow from the tag before it")
        unfinished = prefix in ("B", "I")
        converted.append(f"{_AS_IOB2.get(prefix, prefix)}-{label}" if label else tag)
    if unfinished:
        raise ValueError(f"position {len(tags) - 1}: {tags[-1]!r} is the last tag, but not an end")
    return converted
