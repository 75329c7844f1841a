"""Wikitext to plain paragraphs in which the links are spans.

What a reader of the page sees as running text is kept; templates, tables, references, images,
formulas, headings and comments are left out, as MediaWiki would have to render them. The order is
MediaWiki's own (https://www.mediawiki.org/wiki/Help:Formatting and the parser's description in its
manual): tags that hide their content first, then braces, then links, then lines. Every step is one
pass over the page that cannot run back, so broken markup costs no more time than sound markup: what
is never closed is taken for text. That, and speed, is why no parser of the whole syntax is used:
mwparserfromhell takes five times as long for the text and the links of the same pages.

Links are carried through the steps as a pair of control characters, which XML does not allow in a
document and which so mark nothing else.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from urllib.parse import unquote

from xner.text.words import Span

# Tags whose content is no running text.
_HIDING = (
    "ref|references|math|chem|gallery|syntaxhighlight|source|pre|timeline|score|hiero|imagemap"
    "|templatedata|graph|mapframe|maplink|inputbox|categorytree|includeonly|code|ce|charinsert"
    "|section|indicator|templatestyles|style|script"
)
_HIDDEN = re.compile(rf"<!--|<(nowiki|{_HIDING})\b[^<>]*>", re.IGNORECASE)

_BRACES = re.compile(r"\{\{++|\}\}++|^[ \t:*#;]*+\{\||^[ \t]*+\|\}(?!\})", re.MULTILINE)
_BRACKETS = re.compile(r"\[\[|\]\]")
# Deeper nesting is no markup that anyone wrote, and would have to be copied once a level.
_MAX_DEPTH = 40

# A place that is converted between the variants of a language, as in the Chinese Wikipedia.
_VARIANTS = re.compile(r"-\{([^{}]*+)\}-")
_VARIANT = re.compile(
    r"(?:^|;)[^;:]*(?:zh|sr|kk|ku|uz|iu|tg|gan|crh|shi)(?:-[a-z]++)*+\s*+:\s*+([^;]*+)"
)
_SILENT_FLAGS = frozenset("HTDN-")

_EXTERNAL = re.compile(
    r"\[(?:(?:https?:|ftp:)?//|mailto:)[^\s\[\]<>\x02\x03]++(?:\s++([^\[\]]*+))?\]"
)
_LINE_BREAK = re.compile(r"<br\b[^<>\x02\x03]*+>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>\x02\x03]*+>")
_QUOTES = re.compile(r"'{5}|'{2,3}")
_SWITCH = re.compile(r"__[^\W\d_]++(?:_[^\W\d_]++)*+__")
_ITEM = re.compile(r"[*#:;]+\s*")
# What is left of a parenthesis whose templates are gone: `(; , )`.
_EMPTY = re.compile(r" ?[(\uff08][\s,;\uff0c\uff1b\u3001:/\u2013-]*[)\uff09]")
_AFTER_OPENING = re.compile(r"(?<=[(\uff08])[\s,;]++")
_BEFORE_CLOSING = re.compile(r"(?<![\s,;])[\s,;]++(?=[)\uff09])")
_SPACES = re.compile(r"[ \t\n]+")
_SPACE_BEFORE = re.compile(r" (?=[,.;:!?)](?:\s|$))")

_OPEN, _CLOSE = "\x02", "\x03"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_INVISIBLE = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# What MediaWiki appends to the text of a link that it directly follows (`linkTrail` in its
# language files). Most languages have lower-case letters of their own; scripts without case, none.
_NO_TRAIL = frozenset({"zh", "ja", "ko", "th", "lo", "km", "my"})
_TRAIL = re.compile(r"[^\W\d_]++")

# What namespaces are called in some languages, besides English, which is valid everywhere, and
# besides what a dump's own head says.
_FILES = """
    file image media datei bild archivo imagen fichier bestand afbeelding immagine ficheiro imagem
    plik grafika soubor kuva tiedosto fájl kép dosya resim файл изображение ファイル 画像 文件 檔案
    档案 图像 圖像 파일 그림 تصویر ملف
"""
_CATEGORIES = """
    category kategorie categoría categoria catégorie categorie kategoria kategori kategória luokka
    категория カテゴリ 分类 分類 분류 تصنيف رده
"""
_OTHERS = """
    talk user wikipedia project help portal template special mediawiki module draft book wp anexo
    hilfe vorlage benutzer diskussion spezial ayuda plantilla usuario wikiproyecto discusión
    especial sjabloon gebruiker overleg speciaal modul modulo aide modèle utilisateur projet
    discussion spécial projekt wikiprojekt portaal 模板 帮助 幫助 使用者 用户 用戶 讨论 討論
    維基百科 维基百科 主題 主题 特殊 模块 模組 利用者 プロジェクト ノート 특수 шаблон портал
"""
_INTERWIKI = """
    wikt wiktionary commons c wikisource s wikiquote q wikibooks b wikinews n wikiversity v
    wikispecies species wikivoyage voy wikidata d meta m mw mediazilla bugzilla incubator foundation
    wmf phab phabricator doi google iarchive simple
"""
_KINDS = {
    prefix: kind
    for kind, prefixes in (("other", _OTHERS), ("file", _FILES), ("category", _CATEGORIES))
    for prefix in prefixes.split()
}
_OTHER_WIKIS = frozenset(_INTERWIKI.split())
# The code of a language, as in `[[en:Title]]`; not as in `[[CSI: Miami]]`.
_LANGUAGE_PREFIX = re.compile(r"[a-z]{2,3}|(?:zh|be|roa|bat|fiu|map|cbk|nds)(?:-[a-z]+)+")


@dataclass(frozen=True, slots=True)
class Anchor:
    """A link in a paragraph: ``[start, end)`` of its text leads to the page ``target``.

    ``trail`` is the part of the text that stood behind the brackets: ``er`` of ``[[Berlin]]er``.
    ``section`` says that the link leads to a part of the page.
    """

    start: int
    end: int
    target: str
    trail: str = ""
    section: bool = False

    @property
    def span(self) -> Span:
        """Where it stands."""
        return self.start, self.end


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text without markup, and its links in text order, which never overlap."""

    text: str
    anchors: tuple[Anchor, ...]


@dataclass(frozen=True, slots=True)
class PlainPage:
    """The paragraphs of a page, and how many links it has.

    ``num_links`` counts every ``[[`` of the wikitext; ``num_special`` of them are links to files,
    categories, other namespaces and other wikis. Those that are neither special nor in
    ``paragraphs`` stand where no running text is.
    """

    paragraphs: tuple[Paragraph, ...]
    num_links: int
    num_special: int


def plain_page(wikitext: str, lang: str, namespaces: Sequence[str] = ()) -> PlainPage:
    """The running text of a page.

    ``lang`` decides what may be appended to a link; ``namespaces`` are the names that the dump's
    head has for namespaces, the default one left out. Never raises, whatever the text.
    """
    num_links = wikitext.count("[[")
    text = _without_hidden(_CONTROL.sub("", wikitext))
    text = _VARIANTS.sub(_variant, _without_braces(text))
    prefixes = frozenset(map(_folded, namespaces))
    links = _Links(lang, prefixes)
    text = links.marked(text)
    anchors = iter(links.anchors)
    paragraphs = []
    for block in _blocks(text):
        mine = [next(anchors) for _ in range(block.count(_OPEN))]
        if not _is_dropped(block):
            paragraphs.append(_paragraph(block, mine))
    return PlainPage(tuple(p for p in paragraphs if p.text), num_links, links.num_special)


def normal_title(title: str) -> str:
    """A title as MediaWiki knows the page: spaces for underscores, the first letter upper-case."""
    title = _INVISIBLE.sub("", title).replace("_", " ")
    title = unicodedata.normalize("NFC", " ".join(title.split()))
    first = title[:1].upper()
    return first + title[1:] if len(first) == 1 else title


def link_target(target: str) -> tuple[str, str]:
    """The page and the section that a link's target names, both as written in titles."""
    target = html.unescape(target)
    if "%" in target:
        target = unquote(target)
    page, _, section = target.partition("#")
    return normal_title(page.strip().removeprefix(":")), section.strip()


def redirect_target(wikitext: str) -> tuple[str, str] | None:
    """Page and section that a redirect's text leads to; None where it has no link."""
    found = re.search(r"\[\[([^\[\]|\n]++)", wikitext[:2000])
    return found and link_target(found[1])


# Tags and braces


def _without_hidden(text: str) -> str:
    """The text without comments and without the tags that hide their content."""
    pieces: list[str] = []
    position = 0
    folded = text.lower() if text.isascii() else _lower(text)
    unclosed: set[str] = set()
    while found := _HIDDEN.search(text, position):
        pieces.append(text[position : found.start()])
        name = (found[1] or "").lower()
        position = found.end()
        if found[0].endswith("/>"):
            continue
        closing = f"</{name}" if name else "-->"
        # Once it was not found, it is not looked for again: pages of many unclosed tags.
        end = -1 if closing in unclosed else folded.find(closing, position)
        if end < 0:
            unclosed.add(closing)
            if not name:
                return "".join(pieces)
            continue
        if name == "nowiki":
            pieces.append(_escaped(text[position:end]))
        after = text.find(">", end) if name else end + 2
        position = len(text) if after < 0 else after + 1
    pieces.append(text[position:])
    return "".join(pieces)


def _lower(text: str) -> str:
    """Lower-case where that keeps every character in its place."""
    return re.sub(r"[A-Z]+", lambda found: found[0].lower(), text)


def _escaped(text: str) -> str:
    """Text that no later step takes for markup; entities are resolved last."""
    return re.sub(r"[^\w\s]", lambda found: f"&#{ord(found[0])};", html.unescape(text))


def _without_braces(text: str) -> str:
    """The text without templates and tables. What is never closed stays, without its braces."""
    # Opened and not yet closed: where, and whether it is a table.
    stack: list[tuple[int, int, bool]] = []
    num_tables = 0
    dropped: list[Span] = []
    for found in _BRACES.finditer(text):
        token, (start, end) = found[0], found.span()
        if token.endswith("{|"):
            stack.append((start, end, True))
            num_tables += 1
        elif token[0] == "{":
            stack += [(start, end, False)] * (len(token) // 2)
        elif token[0] == "}":
            for _ in range(len(token) // 2):
                if stack and not stack[-1][2]:
                    dropped.append((stack.pop()[0], end))
        elif num_tables:
            # The end of a table is the end of what its cells left open.
            while not stack[-1][2]:
                dropped.append(stack.pop()[:2])
            dropped.append((stack.pop()[0], end))
            num_tables -= 1
    dropped += [each[:2] for each in stack]
    pieces: list[str] = []
    position = 0
    for start, end in sorted(dropped):
        if start >= position:
            pieces.append(text[position:start])
        position = max(position, end)
    pieces.append(text[position:])
    return "".join(pieces)


def _variant(found: re.Match[str]) -> str:
    """What a place of conversion shows: its first variant, or the text that is not converted."""
    flags, bar, content = found[1].rpartition("|")
    if bar and _SILENT_FLAGS & set(flags):
        return ""
    shown = _VARIANT.search(content)
    return shown[1].strip() if shown else content


# Links


@dataclass(slots=True)
class _Links:
    """Takes links apart; ``anchors`` are those that it left in the text, in its order."""

    lang: str
    prefixes: frozenset[str]
    anchors: list[Anchor] = field(default_factory=list)
    num_special: int = 0

    def marked(self, text: str) -> str:
        """The text with each link's text in control characters, in the place of the link."""
        pieces: list[str] = []
        opened: list[int] = []
        position = 0
        for found in _BRACKETS.finditer(text):
            pieces.append(text[position : found.start()])
            position = found.end()
            if found[0] == "[[":
                if len(opened) < _MAX_DEPTH:
                    opened.append(len(pieces))
            elif opened:
                first = opened.pop()
                content = "".join(pieces[first:])
                trail = self._trail(text, position)
                shown, takes_trail = self._shown(content, trail)
                pieces[first:] = [shown]
                position += len(trail) if takes_trail else 0
        pieces.append(text[position:])
        return "".join(pieces)

    def _trail(self, text: str, position: int) -> str:
        found = None if self.lang.split("_")[0] in _NO_TRAIL else _TRAIL.match(text, position)
        return "".join(takewhile(lambda letter: not letter.isupper(), found[0])) if found else ""

    def _shown(self, content: str, trail: str) -> tuple[str, bool]:
        """What the reader sees of a link, and whether the trail is in it."""
        target, bar, label = content.partition("|")
        prefix, colon, rest = target.strip().removeprefix(":").partition(":")
        kind = self._kind(prefix, rest) if colon else ""
        is_inline = target.lstrip().startswith(":")
        if kind == "file" and not is_inline:
            del self.anchors[len(self.anchors) - content.count(_OPEN) :]
            self.num_special += 1
            return "", False
        if _OPEN in content or "\n" in target or not target.strip():
            return content, False
        if kind:
            self.num_special += 1
            if kind in ("language", "category") and not is_inline:
                return "", False
            return (label if bar else target.strip().removeprefix(":")), False
        page, section = link_target(target)
        self.anchors.append(Anchor(0, 0, page, trail, bool(section) or not page))
        shown = (label if bar else target.strip().removeprefix(":")).replace("\n", " ")
        return f"{_OPEN}{shown}{trail}{_CLOSE}", True

    def _kind(self, prefix: str, rest: str) -> str:
        """What a target that begins with ``prefix:`` leads to; empty for a page like any."""
        folded = _folded(prefix)
        if kind := _KINDS.get(folded, "other" if folded in self.prefixes else ""):
            return kind
        if not prefix.islower() or rest[:1].isspace():
            return ""
        if prefix in _OTHER_WIKIS:
            return "other"
        return "language" if _LANGUAGE_PREFIX.fullmatch(prefix) else ""


def _folded(prefix: str) -> str:
    return prefix.strip().replace("_", " ").lower()


# Lines


def _blocks(text: str) -> Iterator[str]:
    """What makes one paragraph each: lines up to a blank one, and list items by themselves."""
    running: list[str] = []
    for line in text.split("\n"):
        stands_alone = line[:1] in tuple("*#:;|!= ") or line.startswith("----")
        if running and (stands_alone or not line.strip()):
            yield "\n".join(running)
            running = []
        if stands_alone:
            yield line
        elif line.strip():
            running.append(line)
    if running:
        yield "\n".join(running)


def _is_dropped(block: str) -> bool:
    """Headings, and rows of tables that were never closed."""
    line = block.strip()
    return line[:1] in ("|", "!") or (line[:1] == "=" == line[-1:] and len(line) > 2)


def _paragraph(block: str, anchors: Sequence[Anchor]) -> Paragraph:
    block = _ITEM.sub("", block.strip(), count=1) if block[:1] in tuple("*#:;") else block
    block = _TAG.sub("", _LINE_BREAK.sub(" ", block.removeprefix("----")))
    block = _EXTERNAL.sub(lambda found: found[1] or "", block)
    block = html.unescape(_SWITCH.sub("", _QUOTES.sub("", block)))
    block = _BEFORE_CLOSING.sub("", _AFTER_OPENING.sub("", _EMPTY.sub("", block)))
    block = _SPACES.sub(" ", block).replace(f"{_OPEN} ", f" {_OPEN}")
    block = block.replace(f" {_CLOSE}", f"{_CLOSE} ").replace("  ", " ")
    block = _SPACE_BEFORE.sub("", block).lstrip(" ,;:.").rstrip()
    placed = []
    # Text and anchors take turns, beginning with text.
    parts = re.split(f"[{_OPEN}{_CLOSE}]", block)
    pieces = []
    position = 0
    for index, part in enumerate(parts):
        if index % 2:
            start = position + len(part) - len(part.lstrip())
            end = max(start, position + len(part.rstrip()))
            placed.append(replace(anchors[index // 2], start=start, end=end))
        pieces.append(part)
        position += len(part)
    return Paragraph("".join(pieces), tuple(placed))
