"""Alignment examples from a Wikipedia: its links say where an entity stands and which one it is.

A link's text is a name in the language of the wiki, the English title of the page that it leads to
is the English name (Li, He and Xu 2021 train their aligner so). Wikipedia links only the first
mention, so every other place of a paragraph where a linked text stands again belongs to the name
too. Most links are no names at all: years, common nouns, adjectives, lists. Each one that is not
taken is refused for a named reason, and what is in doubt is refused, for there are enough.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from xner.corpora.alignment_set import AlignmentExample
from xner.corpora.wikidump import DumpPart, Page, read_pages
from xner.corpora.wikitext import Anchor, Paragraph, PlainPage, plain_page
from xner.corpora.wikititles import TitleTable
from xner.text.occurrences import occurrences
from xner.text.words import Span, is_cased, segment, words_in

REFUSALS = {
    "namespace": "leads to a file, a category, another namespace or another wiki",
    "outside_text": "stands in a template, table, reference, heading or broken markup",
    "section": "leads to a part of a page, which has another name or none",
    "unresolved": "the page has no English title that is known",
    "date": "a day, a year or another time",
    "list": "a list or a topic: List of ..., History of ...",
    "common_noun": "the English title is no name, as its lower-case words show",
    "unknown_case": "nothing tells whether the English title is a name",
    "lower_case": "written without a capital where names have one: an adjective or a description",
    "other_text": "the text is not like the page's title, nor a redirect to it, or it says more",
    "derived": "letters appended to the link make another word of it",
    "no_word": "does not begin and end where words do, or has no letters",
    "too_long": "longer than a name",
    "ambiguous": "the same text stands for two things, or the same name for two pages",
    "no_context": "hardly anything but names in the text around it",
    "long_paragraph": "in a paragraph that is no running text",
}
PAGE_REFUSALS = {
    "other_namespace": "no article",
    "not_wikitext": "its content is data or code",
    "broken_xml": "no well-formed XML",
    "too_large": "larger than MediaWiki allows",
}

_MAX_NAME_CHARS = 80
_MAX_NAME_WORDS = 10
_MIN_CONTEXT_WORDS = 4
# The longest real ones have some thousands of characters.
_MAX_PARAGRAPH_CHARS = 20_000

# In these languages a capital says noun, not name.
_NOUNS_CAPITALISED = frozenset({"de", "lb", "nds", "als", "gsw", "bar", "ksh", "pfl", "stq"})
# Endings that the link trail may add to a name; other letters make an adjective or a compound.
_ENDINGS = {
    "de": frozenset({"s", "es", "n", "en", "ns", "ens"}),
    "nl": frozenset({"s"}),
    "en": frozenset(),
    "es": frozenset(),
    "fr": frozenset(),
    "it": frozenset(),
    "pt": frozenset(),
}
_MAX_ENDING = 3
# Articles that may stand in a link's text but not in a name.
_ARTICLES = {
    "en": "the",
    "de": "der|die|das|des|dem|den|ein|eine|einer|eines|einem|einen",
    "nl": "de|het|een|'t",
    "es": "el|la|los|las|un|una",
    "fr": "le|la|les|un|une|des",
    "it": "il|lo|la|i|gli|le",
    "pt": "o|a|os|as",
}

_LOWER_IN_NAMES = re.compile(
    "a|ab|al|am|and|an|at|auf|bei|bin|by|d[aeiou]|d[aeo]s|de[lmnrt]|della|dello|degli|dei|e|ed|el|en"
    "|et|for|from|ibn|i[mn]|l[aeo]|l[ao]s|les|near|of|on|ob|or|over|sur|the|to|und|under|upon|v[ao]n"
    "|vom|with|y|z|zu[mr]?|über|'t|bint|ben|o|as|na|no|vs\\.?|v\\."
)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(
    rf"(?:{_MONTHS})(?: \d+)?(?:, \d+)?|\d+ (?:{_MONTHS})(?: \d+)?"
    r"|(?:AD |c\. )?\d[\d\u2013/-]*s?(?: (?:AD|BC|BCE|CE))?(?: (?:in|at) .*)?|(?:AD|BC) \d+"
    r"|\d+(?:st|nd|rd|th)[ -](?:century|millennium)(?: (?:BC|BCE|AD))?|\d+s (?:BC|AD)"
    r"|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
)
_LIST = re.compile(
    "(?:Lists?|Index|Outline|Glossary|Timeline|Table|Bibliography|Discography|Filmography"
    "|Comparison|Comparisons) of .*"
    "|(?:History|Prehistory|Geography|Geology|Economy|Demographics|Demography|Politics|Government"
    "|Culture|Climate|Education|Religion|Languages?|Music|Cinema|Literature|Art|Arts|Architecture"
    "|Cuisine|Law|Foreign relations|Transport|Transportation|Tourism|Telecommunications|Military"
    "|Health|Healthcare|Sport|Sports|Flag|Coat of arms|Flags|Names?|Etymology"
    "|Administrative divisions"
    "|Subdivisions|Provinces|Districts|Boroughs|Regions|States|Counties|Municipalities|Cities"
    "|Islam|Christianity|Judaism|Buddhism|Catholicism|Media|Energy|Agriculture|Science"
    "|Human rights|Women|Prime Minister|President|Presidents|King|Emperor|Monarchy|Constitution"
    "|Elections?|Philosophy|Theatre|Wildlife|Flora|Fauna|Immigration|Rail transport"
    ") (?:of|in) .*",
)
_SUFFIX = re.compile(r"(?<!\s)\s*+\([^()]*+\)$")
_COMMA_SUFFIX = re.compile(r", (?!Jr\b|Sr\b|Inc\b|Ltd\b|[IVX]+$).*")
_EDGES = " \u00a0\"'`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a"
_EDGES += "\u300a\u300b\u300c\u300d\u300e\u300f,;:"

_SENTENCE_END = re.compile(
    "(?<![.!?\u2026])[.!?\u2026]++[\"'\u2019\u201d\u201c\u00bb)\\]]*+\\s++(?![a-z\u00df-\u00ff])"
    "|(?<![\u3002\uff01\uff1f])[\u3002\uff01\uff1f]++[\u201d\u2019\u300d\u300f\uff09]*+"
)


@dataclass(frozen=True)
class WikipediaStatistics:
    """What came of a dump; ``WikipediaStatistics()`` is the neutral element of ``+``.

    ``pages`` = ``redirects`` + the sum of ``refused_pages`` + articles; ``anchors`` = ``resolved``
    + the sum of ``refused``, by the reasons of ``REFUSALS``.
    """

    pages: int = 0
    redirects: int = 0
    paragraphs: int = 0
    anchors: int = 0
    resolved: int = 0
    examples: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    refused_pages: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: WikipediaStatistics) -> WikipediaStatistics:
        def added(name: str) -> Any:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, int):
                return mine + theirs
            return dict(sorted((Counter(mine) + Counter(theirs)).items()))

        return WikipediaStatistics(**{each.name: added(each.name) for each in fields(self)})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Named:
    """An anchor that is a name: its place, the English name, and the English title."""

    start: int
    end: int
    name: str
    title: str


@dataclass(frozen=True)
class AnchorReader:
    """Takes the pages of a dump apart into alignment examples."""

    lang: str
    titles: TitleTable
    namespaces: Sequence[str] = ()
    max_chars: int = 300

    def read(self, part: DumpPart) -> Iterator[tuple[list[AlignmentExample], WikipediaStatistics]]:
        """The examples of each page of a part, and what the page came to.

        Raises DataError and TransientError as ``read_pages`` does.
        """
        for page in read_pages(part):
            yield self.page(page)

    def page(self, page: Page) -> tuple[list[AlignmentExample], WikipediaStatistics]:
        """The examples of one page, and what it came to."""
        if reason := _page_refusal(page):
            return [], WikipediaStatistics(pages=1, refused_pages={reason: 1})
        if page.redirect is not None:
            return [], WikipediaStatistics(pages=1, redirects=1)
        return self.examples(plain_page(page.text, self.lang, self.namespaces))

    def examples(self, page: PlainPage) -> tuple[list[AlignmentExample], WikipediaStatistics]:
        """The examples of a page's running text, and what the page came to."""
        num_anchors = sum(len(paragraph.anchors) for paragraph in page.paragraphs)
        refused: Counter[str] = Counter()
        refused["namespace"] = page.num_special
        refused["outside_text"] = page.num_links - page.num_special - num_anchors
        examples: list[AlignmentExample] = []
        num_resolved = 0
        for paragraph in page.paragraphs:
            found, reasons = self.paragraph(paragraph)
            examples += found
            refused.update(reasons)
            num_resolved += len(paragraph.anchors) - len(reasons)
        statistics = WikipediaStatistics(
            pages=1,
            paragraphs=len(page.paragraphs),
            anchors=page.num_links,
            resolved=num_resolved,
            examples=len(examples),
            refused=dict(sorted((+refused).items())),
        )
        return examples, statistics

    def paragraph(self, paragraph: Paragraph) -> tuple[list[AlignmentExample], list[str]]:
        """The examples of a paragraph, and the reason of each anchor that is in none of them."""
        text, anchors = paragraph.text, paragraph.anchors
        if len(text) > _MAX_PARAGRAPH_CHARS:
            return [], ["long_paragraph"] * len(anchors)
        found = [self._named(anchor, text) for anchor in anchors]
        reasons = [each for each in found if isinstance(each, str)]
        candidates = [each for each in found if isinstance(each, _Named)]
        words = segment(text) if candidates else []
        starts, ends = {start for start, _ in words}, {end for _, end in words}
        named = [each for each in candidates if each.start in starts and each.end in ends]
        reasons += ["no_word"] * (len(candidates) - len(named))
        kept = _unambiguous(text, named)
        reasons += ["ambiguous"] * (len(named) - len(kept))
        if not kept:
            return [], reasons
        closed = [anchor.span for anchor in anchors]
        forms = {text[each.start : each.end]: each.name for each in kept}
        longest_first = sorted(forms.items(), key=lambda item: (-len(item[0]), item))
        examples = []
        for start, end in windows(text, closed, self.max_chars):
            mine = [each for each in kept if start <= each.start and each.end <= end]
            inner = words_in(start, end, words)
            example = self._example(
                text[start:end],
                [(words[i][0] - start, words[i][1] - start) for i in inner],
                [(each.start - start, each.end - start, each.name) for each in mine],
                [(s - start, e - start) for s, e in closed if s < end and start < e],
                longest_first,
            )
            if isinstance(example, str):
                reasons += [example] * len(mine)
            elif example:
                examples.append(example)
        return examples, reasons

    def _example(
        self,
        text: str,
        words: Sequence[Span],
        named: Sequence[tuple[int, int, str]],
        closed: Sequence[Span],
        forms: Sequence[tuple[str, str]],
    ) -> AlignmentExample | str | None:
        """The example that a window makes: its named anchors, and where their texts stand again.

        Nothing is found again in the ``closed`` spans, the text of links; of ``forms``, text and
        name, the first one has a place. The reason where there is too little text, None where there
        is no name.
        """
        places: dict[str, list[Span]] = {}
        for start, end, name in named:
            places.setdefault(name, []).append((start, end))
        used = list(closed)
        for form, name in forms:
            for start, end in occurrences(form, text, words):
                if all(end <= s or e <= start for s, e in used):
                    places.setdefault(name, []).append((start, end))
                    used.append((start, end))
        spans = [span for of_name in places.values() for span in of_name]
        if not spans:
            return None
        outside = sum(not any(s <= word < e for s, e in spans) for word, _ in words)
        if outside < _MIN_CONTEXT_WORDS:
            return "no_context"
        return AlignmentExample(
            text=text,
            lang=self.lang,
            names=tuple(places),
            spans=tuple(tuple(sorted(of_name)) for of_name in places.values()),
            origin="anchor",
        )

    def _named(self, anchor: Anchor, text: str) -> _Named | str:
        """The place and the English name of an anchor of a text; or the reason why it has none."""
        if anchor.section:
            return "section"
        if (found := self.titles.lookup(anchor.target)) is None:
            return "unresolved"
        title, is_name = found
        start, end = self._trimmed(text, anchor.span)
        shown = text[start:end]
        reason = _title_refusal(title, is_name) or self._text_refusal(shown, anchor, title)
        if reason:
            return reason
        if not is_name and not _has_inner_capital(title) and not self._shows_name(text, start):
            return "unknown_case"
        name = english_name(title, shown)
        # Of `Dr. Karl Clark` the name, where it is the same in both languages.
        if len(inner := occurrences(name, shown, segment(shown))) == 1:
            start, end = start + inner[0][0], start + inner[0][1]
        return _Named(start, end, name, title)

    def _trimmed(self, text: str, span: Span) -> Span:
        """The span without quotation marks around it, an article before and brackets behind."""
        start, end = span
        if found := _SUFFIX.search(text[start:end]):
            end = start + found.start()
        while start < end and text[start] in _EDGES:
            start += 1
        while start < end and text[end - 1] in _EDGES:
            end -= 1
        article = _ARTICLES.get(self._lang)
        if article and (found := re.compile(rf"(?:{article})\s+").match(text, start, end)):
            start = found.end()
        return start, end

    @property
    def _lang(self) -> str:
        return self.lang.split("_")[0]

    def _text_refusal(self, shown: str, anchor: Anchor, title: str) -> str | None:
        if not any(map(str.isalpha, shown)):
            return "no_word"
        if len(shown) > _MAX_NAME_CHARS or len(segment(shown)) > _MAX_NAME_WORDS:
            return "too_long"
        # `iPhone` and `al-Qaida` are names all the same; scripts without case are let pass.
        has_capital = any(map(str.isupper, shown)) and " " not in shown
        if _has_case(shown) and shown[0].isalpha() and not (shown[0].isupper() or has_capital):
            return "lower_case"
        if self._is_derived(shown, anchor):
            return "derived"
        if _is_description(shown, anchor.target):
            return "other_text"
        if not _is_like(shown, anchor.target):
            alias = self.titles.lookup(shown)
            # In the English wiki every text is a title of its own.
            if alias is None or alias[0] != title:
                return "other_text"
        return None

    def _is_derived(self, shown: str, anchor: Anchor) -> bool:
        """Whether the page's title has got an ending that names do not get: `Berliner`."""
        endings = _ENDINGS.get(self._lang)
        title = _SUFFIX.sub("", anchor.target)
        ending = shown.removeprefix(title) if shown.startswith(title) else ""
        if endings is None:
            return len(anchor.trail) > _MAX_ENDING
        return any(each.isalpha() and each not in endings for each in (anchor.trail, ending))

    def _shows_name(self, text: str, start: int) -> bool:
        """Whether a capital here can only be that of a name."""
        if self._lang in _NOUNS_CAPITALISED or not text[start].isupper():
            return False
        before = text[max(0, start - 8) : start].rstrip()
        return before[-1:].isalnum() or before.endswith(",")


def _page_refusal(page: Page) -> str | None:
    if page.refused:
        return page.refused
    if page.namespace != 0:
        return "other_namespace"
    return None if page.model == "wikitext" else "not_wikitext"


def _title_refusal(title: str, is_name: int) -> str | None:
    """Why an English title is no name; None for one that may be."""
    if _DATE.fullmatch(title):
        return "date"
    if _LIST.fullmatch(title):
        return "list"
    words = [word.strip("\"'.,!?") for word in _SUFFIX.sub("", title).split()]
    if is_name < 0 or any(
        word[:1].islower() and not _has_capital(word) and not _LOWER_IN_NAMES.fullmatch(word)
        for word in words
    ):
        return "common_noun"
    return None if any(map(str.isalpha, title)) else "no_word"


def _has_capital(text: str) -> bool:
    return any(map(str.isupper, text))


def _has_inner_capital(title: str) -> bool:
    """Whether a letter other than the first is a capital: its page is about something named."""
    return _has_capital(_SUFFIX.sub("", title)[1:])


def _has_case(text: str) -> bool:
    """Whether the first letter comes from a script with capitals."""
    return is_cased(next(filter(str.isalpha, text), ""))


def english_name(title: str, shown: str) -> str:
    """The name that an English text would use where this one has ``shown``.

    Without what only tells pages apart: ``Paris (Texas)``, and ``Austin, Texas`` where the text has
    no comma. Where the text is itself a part of the title, that part: ``Kant`` is not
    ``Immanuel Kant``.
    """
    name = _SUFFIX.sub("", title) or title
    if occurrences(shown, name, segment(name)):
        return shown
    # `The Championships, Wimbledon` is no place in Wimbledon.
    if "," in shown or name.startswith("The "):
        return name
    return _COMMA_SUFFIX.sub("", name)


def _is_description(shown: str, target: str) -> bool:
    """Whether a text has lower-case words of its own, which the title that it leads to lacks."""
    known = target.casefold()
    return any(
        word.islower()
        and _has_case(word)
        and not _LOWER_IN_NAMES.fullmatch(word)
        and word not in known
        for word in shown.split()[1:]
    )


def _is_like(shown: str, target: str) -> bool:
    """Whether a link's text looks like the title that it leads to.

    They share a word, or its beginning (inflection); or one abbreviates the other; in scripts
    without spaces, two neighbouring characters.
    """
    shown, target = shown.casefold(), _SUFFIX.sub("", target).casefold() or target.casefold()
    if shown == target:
        return True
    mine, theirs = ([text[s:e] for s, e in segment(text)] for text in (shown, target))
    if all(len(word) == 1 for word in mine):
        pairs = {shown[i : i + 2] for i in range(len(shown) - 1)}
        return any(target[i : i + 2] in pairs for i in range(len(target) - 1)) or shown in target
    initials = "".join(word[0] for word in theirs if word[0].isalnum())
    if shown.replace(".", "") == initials:
        return True
    stems = {word[: max(4, len(word) - 3)] for word in theirs if len(word) > 2}
    return any(word.startswith(stem) for word in mine for stem in stems)


def _unambiguous(text: str, named: Sequence[_Named]) -> list[_Named]:
    """The anchors of a paragraph whose text stands for one name, and whose name for one page."""
    names_of: dict[str, set[str]] = {}
    titles_of: dict[str, set[str]] = {}
    for each in named:
        names_of.setdefault(text[each.start : each.end], set()).add(each.name)
        titles_of.setdefault(each.name, set()).add(each.title)
    return [
        each
        for each in named
        if len(names_of[text[each.start : each.end]]) == 1 and len(titles_of[each.name]) == 1
    ]


def windows(text: str, closed: Sequence[Span], max_chars: int) -> Iterator[Span]:
    """A text in pieces of whole sentences, of at most ``max_chars`` characters where that can be.

    A longer sentence is cut between words, but not inside the ``closed`` spans. These stand in text
    order, do not overlap, and must not be longer than that.
    """
    borders = [found.end() for found in _SENTENCE_END.finditer(text)]
    inner = [border for border in borders if _holding(border, closed) is None]
    start = end = 0
    for border in [*inner, len(text)]:
        if border - start > max_chars and end > start:
            yield _stripped(text, start, end)
            start = end
        while border - start > max_chars:
            cut = _cut(text, start, start + max_chars, closed)
            yield _stripped(text, start, cut)
            start = cut
        end = border
    if start < len(text):
        yield _stripped(text, start, len(text))


def _cut(text: str, start: int, limit: int, closed: Sequence[Span]) -> int:
    """The last place up to ``limit`` at which to cut: between words, outside of closed spans."""
    holding = _holding(limit, closed)
    limit = limit if holding is None or holding <= start else holding
    space = text.rfind(" ", start + 1, limit)
    while space > 0 and (holding := _holding(space, closed)) is not None:
        space = text.rfind(" ", start + 1, holding)
    return space + 1 if space > 0 else limit


def _holding(position: int, closed: Sequence[Span]) -> int | None:
    """Where the closed span begins that a cut at ``position`` would part; None for none."""
    index = bisect_left(closed, position, key=lambda span: span[0]) - 1
    return closed[index][0] if index >= 0 and position < closed[index][1] else None


def _stripped(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    return end - len(piece.lstrip()), start + len(piece.rstrip())
