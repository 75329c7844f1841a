"""Readers of other people's files, fed with what is almost right, and with noise.

Of every reader only our own errors may come out, in bounded time and memory, and what it gives
holds together. The ordinary tests take the same few cases each time; ``make fuzz`` takes many new
ones, as many a reader as ``XNER_FUZZ`` says, and writes ``runs/fuzz/summary.json``.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import resource
import signal
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xner.command_line import load
from xner.config import PrepareConfig, ProjectConfig, TaggedSourceConfig, TrainTaggerConfig
from xner.corpora.bitext import read_bitext
from xner.corpora.names import read_lexicon
from xner.corpora.opus import Archive
from xner.corpora.tagged import read_tagged
from xner.corpora.wikidump import dump_parts, read_head, read_pages
from xner.corpora.wikitext import plain_page
from xner.corpora.wikititles import sql_links, wikidata_links
from xner.errors import XnerError
from xner.models.encoder import load_config, load_tokenizer
from xner.models.folders import (
    HEAD_FILE,
    SETTINGS_FILE,
    entity_types,
    read_settings,
    resolve,
)
from xner.models.hmm import languages_of
from xner.models.tiny import train_tokenizer
from xner.shards.ledger import RUN_FILE, Run, statistics_of
from xner.shards.schema import PAIRS, PSEUDO, tag_names, with_tag_names
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder
from xner.text.iob2 import decode

PROJECT = Path(__file__).resolve().parents[2]
CASES = int(os.environ.get("XNER_FUZZ", 0))
CASES_OF_TESTS = 30
CASE_CPU_SECONDS = 10.0
READER_BYTES = 512 << 20

# What is almost right

_PIECES = (
    *(b"\0", b"\n", b"\r\n", b"\t", b" ", b"\xff", b"\xed\xa0\x80", "\u2028\ufeff😀".encode()),
    *(b"[", b"]", b"{", b"}", b'"', b"\\ud800", b"\\", b",", b"null", b"1e999", b"-1", b"9" * 30),
    *(b"<", b">", b"</", b"<!--", b"<![CDATA[", b"&", b"&#0;", b"&x;", b"<page>", b"</page>"),
    *(b"[[", b"]]", b"{{", b"}}", b"{|", b"|}", b"''", b"<ref>", b"<nowiki>", b"I-PER", b"B-"),
)


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with a few bytes cut out, exchanged, doubled or put in."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 24)))
        new = draw(
            st.one_of(
                st.sampled_from(_PIECES),
                st.binary(max_size=8),
                st.just(content[start:end] * draw(st.sampled_from((2, 300)))),
            )
        )
        content = content[:start] + new + content[end:]
    return content if draw(st.integers(0, 9)) else content[: draw(st.integers(0, len(content)))]


_ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(("\ud800", "O", "B-PER", "../x", "en")),
    ),
    lambda values: (
        st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=4), values, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The value with one or two places of it exchanged for anything, or left out."""
    for _ in range(draw(st.integers(1, 2))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value or not draw(st.integers(0, 5)):
        return draw(_ANYTHING)
    places = list(value) if isinstance(value, dict) else list(range(len(value)))
    place = draw(st.sampled_from(places))
    copy = value.copy()
    if draw(st.integers(0, 5)):
        copy[place] = _changed(draw, value[place])
    else:
        del copy[place]
    return copy


def written(value: Any) -> st.SearchStrategy[bytes]:
    """JSON files: changed as a value, or as bytes."""
    seed = json.dumps(value).encode()
    as_value = changed(value).map(lambda found: json.dumps(found).encode())
    return st.one_of(as_value, damaged([seed]), st.binary(max_size=64))


def noisy(*seeds: bytes) -> st.SearchStrategy[bytes]:
    """Damaged seeds, and noise."""
    return st.one_of(damaged(seeds), damaged(seeds), st.binary(max_size=200))


# The files


def _zip(**members: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_", "."), text)
    return file.getvalue()


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


LINES = "Tom lives in Bonn.\nAnn Müller\r\n\nNo name here.\n".encode()
TMX = b"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="en"><seg>Tom <bpt i="1">&lt;b></bpt>lives<hi>!</hi></seg></tuv>
<tuv lang="de-DE"><seg>Tom lebt&#228;</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Ann</seg></tuv></tu></body></tmx>"""
CONLL = b"-DOCSTART- O\n\n# sent_id = 1\nTom\tB-PER\nM\xc3\xbcller\tI-PER\nlebt\tO\n\n#\tO\n"
CONLL_SPACES = b"Tom NNP I-PER\nlebt VB O\n\n\xef\xbb\xbfen:Bonn NNP I-LOC\n"
TAGGED = {"tokens": ["Tom", "lebt", "."], "ner_tags": ["B-PER", "O", "O"], "answer": "accept"}
SPANNED = {"text": "Tom lebt in Bonn.", "spans": [{"start": 0, "end": 3, "label": "PER"}]}
RESULT = {"type": "labels", "value": {"start": 0, "end": 3, "labels": ["PER"], "text": "Tom"}}
TASKS = [{"data": {"text": "Tom lebt"}, "annotations": [{"result": [RESULT]}]}]
DUMP = b"""<mediawiki xml:lang="de"><siteinfo><dbname>dewiki</dbname><namespaces>
<namespace key="6">Datei</namespace></namespaces></siteinfo>
<page><title>Bonn</title><ns>0</ns><id>1</id><revision><id>2</id><model>wikitext</model>
<text>'''Bonn''' liegt am [[Rhein]].</text></revision></page>
<page><title>B</title><ns>0</ns><redirect title="Bonn"/><revision><text>#REDIRECT [[Bonn]]</text>
</revision></page></mediawiki>
"""
WIKITEXT = (
    b"'''Bonn''' ist [[Stadt|eine Stadt]]en am [[Rhein]]<ref>x</ref> in {{Land|a={{b}}}}.\n\n"
    b"{| class=x\n|-\n| [[a]]\n|}\n* [[Datei:x.jpg|mini|ein [[Bild]]]] -{zh-hans:a;zh-hant:b}-\n"
    b"<math>x<y</math> [http://x.org y] <!-- z --> &nbsp;&#x41;\n== Titel ==\nText."
)
LANGLINKS = b"""CREATE TABLE `langlinks` (
  `ll_from` int,
  `ll_lang` x,
  `ll_title` x,
);
INSERT INTO `langlinks` VALUES (1,'en','Munich'),(2,'en','O\\'Brien');
"""
PAGES = b"""CREATE TABLE `page` (
  `page_id` int,
  `page_namespace` int,
  `page_title` x,
);
INSERT INTO `page` VALUES (1,0,'M\xc3\xbcnchen',0),(2,0,'O\\'Brien',0);
"""
ENTITY = {
    "id": "Q1",
    "labels": {"en": {"value": "Munich"}},
    "sitelinks": {"enwiki": {"title": "Munich"}, "dewiki": {"title": "München"}},
}
NAMES_CSV = b"code,name_en,name_de\nDE,Germany|FRG,Deutschland\nFR,France,Frankreich\n"
RECIPES = {
    "prepare_corpus": PrepareConfig,
    "project_corpus": ProjectConfig,
    "train_student": TrainTaggerConfig,
}
ROW = {
    "pair_id": "1",
    "corpus": "Made",
    "source_lang": "en",
    "target_lang": "de",
    "source": "Tom",
    "target": "Tom lebt.",
    "mentions": [{"start": 0, "end": 3, "label": "PER", "score": 0.5, "alignment_score": 0.5}],
    "tokens": ["Tom", "lebt", "."],
    "weight": 0.5,
    "status": "ok",
}
SHARD = pa.Table.from_pylist([ROW], schema=PSEUDO)
FOOTER = {
    **{key: [value] for key, value in Statistics.of(SHARD).to_dict().items()},
    "ner_tags": json.loads(with_tag_names(SHARD, ["O"]).schema.metadata[b"huggingface"]),
}
TAGGED_TABLE = pa.table({key: [TAGGED[key]] for key in ("tokens", "ner_tags")})
BERT = {
    "model_type": "bert",
    "architectures": ["BertForTokenClassification"],
    "hidden_size": 8,
    "id2label": {"0": "O", "1": "B-PER", "2": "I-PER"},
    "label2id": {"O": 0, "B-PER": 1, "I-PER": 2},
    "vocab_size": 100,
}
TOKENIZER = json.loads(train_tokenizer(["Tom lebt."]).backend_tokenizer.to_str())
SETTINGS = {
    "format_version": 1,
    "languages": ["en", "de"],
    "unspaced": [],
    "jumps": [],
} | dict.fromkeys(("prefix", "rounds", "units"), 1)


# The readers, and what of theirs must hold


def _bitext(name: str) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(content)
        side = None if name.endswith((".zip", ".tmx")) else str(path)
        kind = "tmx" if name.endswith(".tmx") else "moses"
        next_line = 1
        for block in read_bitext(Archive("X", "en", "de", str(path), side, kind), 3):
            assert block.first_line == next_line
            assert 0 < len(block) == len(block.target) <= 3
            assert all(0 <= index < len(block) for index in block.refused)
            assert "\0" not in "".join([*block.source, *block.target])
            "".join([*block.source, *block.target]).encode()
            next_line += len(block)

    return read


def _tagged(format: str, **config: Any) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        path = folder / "x.parquet"
        path.write_bytes(content)
        config["path"] = str(path)
        for sentence in read_tagged(TaggedSourceConfig(format=format, **config)):
            sentence.text.encode()
            assert len(sentence.words) == len(sentence.tags) > 0
            borders = [border for word in sentence.words for border in word]
            assert borders == sorted(borders) and 0 <= borders[0] <= borders[-1]
            assert borders[-1] <= len(sentence.text)
            decode(sentence.tags, sentence.words)

    return read


def _pseudo(row: Any, folder: Path) -> None:
    try:
        content = _parquet(pa.Table.from_pylist([ROW, row], schema=PSEUDO))
    # No such row can be in a shard.
    except (pa.ArrowException, TypeError, ValueError, AttributeError, OverflowError):
        return
    _tagged("pseudo")(content, folder)


def _dump(content: bytes, folder: Path) -> None:
    path = folder / "dump"
    path.write_bytes(content)
    read_head(str(path))
    for part in dump_parts(str(path), 200):
        for page in read_pages(part):
            (page.title + page.text).encode()
            assert page.refused in (None, "broken_xml", "too_large")


def _wikitext(content: bytes, _: Path) -> None:
    page = plain_page(content.decode(errors="replace"), "de", ["Datei"])
    assert 0 <= page.num_special <= page.num_links
    for paragraph in page.paragraphs:
        borders = [border for anchor in paragraph.anchors for border in anchor.span]
        assert borders == sorted(borders)
        assert all(0 <= border <= len(paragraph.text) for border in borders)


def _sql(content: bytes, folder: Path) -> None:
    langlinks, _, pages = content.partition(PAGES[:20])
    (folder / "langlinks").write_bytes(langlinks)
    (folder / "pages").write_bytes(PAGES[:20] + pages)
    for link in sql_links(str(folder / "langlinks"), str(folder / "pages"), "en"):
        assert link.english is not None


def _wikidata(content: bytes, folder: Path) -> None:
    (folder / "entities").write_bytes(content)
    for link in wikidata_links(str(folder / "entities"), "dewiki", "enwiki"):
        f"{link.title}{link.english}".encode()


def _names(location: str) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        for lang in ("en", "de"):
            (folder / location.replace("{lang}", lang)).write_bytes(content)
        lexicon = read_lexicon(str(folder / location), "en", "de")
        assert all(form.strip() for forms in lexicon.translations.values() for form in forms)

    return read


def _recipe(name: str) -> Callable[[bytes, Path], None]:
    def read(content: bytes, folder: Path) -> None:
        (folder / "recipe.toml").write_bytes(content)
        load(RECIPES[name], str(folder / "recipe.toml"))

    return read


def _overrides(texts: dict[str, str], _: Path) -> None:
    load(ProjectConfig, str(PROJECT / "jobs" / "recipes" / "project_corpus.toml"), texts)


def _footer(value: Any, folder: Path) -> None:
    record, names = value
    metadata = {"xner.statistics": json.dumps(record), "huggingface": json.dumps(names)}
    pq.write_table(SHARD.replace_schema_metadata(metadata), folder / "0.parquet")
    shards = Folder(str(folder))
    assert all(isinstance(name, str) for name in tag_names(shards.read_footer("0.parquet")))
    assert (statistics_of(shards, "0.parquet") + Statistics()).rows >= 0


def _shard(content: bytes, folder: Path) -> None:
    (folder / "0.parquet").write_bytes(content)
    shards = Folder(str(folder))
    shards.read_footer("0.parquet")
    shards.read_table("0.parquet", PAIRS).to_pylist()


def _run(content: bytes, folder: Path) -> None:
    (folder / RUN_FILE).write_bytes(content)
    Run(Folder(str(folder)), "job", {"a": 1}).open()


def _model_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], None]:
    """A file of a model folder; the others are there, and as they should be."""

    def read_folder(content: bytes, folder: Path) -> None:
        for other in ("model.safetensors", HEAD_FILE):
            (folder / other).touch()
        (folder / "config.json").write_text(json.dumps(BERT))
        (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        (folder / "tokenizer_config.json").write_text('{"pad_token": "[PAD]"}')
        (folder / name).write_bytes(content)
        read(folder)

    return read_folder


class Reader(NamedTuple):
    read: Callable[[Any, Path], None]
    contents: st.SearchStrategy[Any]
    # Those that read megabytes of code first take fewer.
    share: float = 1.0


_PACKED = [gzip.compress(LINES), bz2.compress(LINES)]
_TABLE = _parquet(SHARD)
_SQL = LANGLINKS + PAGES
READERS = {
    "moses": Reader(_bitext("x.txt"), noisy(LINES, *_PACKED)),
    "moses_zip": Reader(
        _bitext("de-en.txt.zip"), noisy(_zip(X_en="Tom\n", X_de="Tom\n"), _zip(x_tmx=TMX.decode()))
    ),
    "tmx": Reader(_bitext("x.tmx"), noisy(TMX, gzip.compress(TMX))),
    "conll": Reader(_tagged("conll"), noisy(CONLL, CONLL_SPACES, gzip.compress(CONLL))),
    "conll_repaired": Reader(
        _tagged("conll", repair_tags=True, encoding="latin-1"), noisy(CONLL, CONLL_SPACES)
    ),
    "jsonl": Reader(
        _tagged("jsonl", tag_names=["O", "B-PER"]), st.one_of(written(TAGGED), written(SPANNED))
    ),
    "label_studio": Reader(_tagged("label-studio"), written(TASKS)),
    "parquet": Reader(_tagged("parquet"), noisy(_parquet(TAGGED_TABLE))),
    "pseudo": Reader(_pseudo, changed(ROW)),
    "pseudo_bytes": Reader(_tagged("pseudo"), noisy(_TABLE)),
    "wikipedia": Reader(_dump, noisy(DUMP, bz2.compress(DUMP[:500]) + bz2.compress(DUMP[500:]))),
    "wikitext": Reader(_wikitext, noisy(WIKITEXT)),
    "title_tables": Reader(_sql, noisy(_SQL)),
    "wikidata": Reader(_wikidata, st.one_of(written(ENTITY), noisy(gzip.compress(DUMP)))),
    "names_csv": Reader(_names("names.csv"), noisy(NAMES_CSV)),
    "names_json": Reader(_names("{lang}.json"), written({"DE": "Germany", "FR": "France"})),
    **{
        f"recipe_{name}": Reader(
            _recipe(name), noisy((PROJECT / "jobs" / "recipes" / f"{name}.toml").read_bytes())
        )
        for name in RECIPES
    },
    "overrides": Reader(
        _overrides,
        st.dictionaries(
            st.sampled_from(
                ["pairs", "teacher.model", "teacher.batch_tokens", "quality.labels", "engine.kind"]
            ),
            st.one_of(st.text(max_size=20), damaged([b'["PER", "LOC"]']).map(bytes.hex)),
        ),
    ),
    "footer": Reader(
        _footer,
        st.tuples(changed(Statistics.of(SHARD).to_dict()), changed(FOOTER["ner_tags"])),
    ),
    "shard": Reader(_shard, noisy(_TABLE)),
    "run_record": Reader(_run, written({"job": "job", "a": 2, "b": {"c": 1}})),
    "entity_types": Reader(_model_file("config.json", entity_types), written(BERT)),
    "model_config": Reader(_model_file("config.json", load_config), written(BERT), 0.2),
    "tokenizer": Reader(_model_file("tokenizer.json", load_tokenizer), written(TOKENIZER), 0.1),
    "tokenizer_config": Reader(
        _model_file("tokenizer_config.json", load_tokenizer),
        written({"pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": 8}),
        0.1,
    ),
    "weights_index": Reader(
        _model_file("model.safetensors.index.json", resolve),
        written({"weight_map": {"a": "model.safetensors"}}),
    ),
    "aligner_settings": Reader(
        _model_file(SETTINGS_FILE, read_settings), written({"layout": "packed", "max_length": 8})
    ),
    "word_aligner": Reader(
        _model_file("word_aligner.json", lambda folder: languages_of(Folder(str(folder)))),
        written(SETTINGS),
    ),
}


class _TooSlow(BaseException):
    """Nobody catches it on the way."""


@contextmanager
def _bounded_time() -> Iterator[None]:
    def stop(_number: int, _frame: Any) -> None:
        raise _TooSlow(f"more than {CASE_CPU_SECONDS} s of the processor for one case")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, CASE_CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.fixture(scope="module")
def summary() -> Iterator[dict[str, Any]]:
    """What the long form did, written when it is over."""
    found: dict[str, Any] = {}
    yield found
    if CASES:
        total = sum(each["cases"] for each in found.values())
        folder = PROJECT / "runs" / "fuzz"
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"cases": total, "readers": found}, indent=2)
        (folder / "summary.json").write_text(text + "\n")


def checked(reader: Reader, folder: Path, counts: Counter[str]) -> Callable[[], None]:
    """A run over drawn cases, each in bounds and with an end that may be; counted in ``counts``."""

    @settings(
        max_examples=max(1, int((CASES or CASES_OF_TESTS) * reader.share)),
        derandomize=not CASES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(reader.contents)
    def run(content: Any) -> None:
        counts["cases"] += 1
        with _bounded_time():
            try:
                reader.read(content, folder)
                counts["read"] += 1
            except XnerError as error:
                assert str(error)

    return run


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.timeout(0 if CASES else 300)
@pytest.mark.parametrize("name", READERS)
def test_readers_end_in_a_result_or_in_our_own_errors(
    name: str, tmp_path: Path, summary: dict[str, Any]
) -> None:
    reader, counts = READERS[name], Counter(cases=0, read=0)
    started, peak = time.perf_counter(), _peak_bytes()
    checked(reader, tmp_path, counts)()
    grown = _peak_bytes() - peak
    assert grown < READER_BYTES
    seconds = round(time.perf_counter() - started, 1)
    summary[name] = {**counts, "seconds": seconds, "grown_bytes": grown}
    if CASES:
        print(f"{name}: {counts['cases']} cases, {counts['read']} read, {seconds} s")
