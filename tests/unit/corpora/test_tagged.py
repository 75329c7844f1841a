from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xner.config import TaggedSourceConfig
from xner.corpora.tagged import LABEL_MAPS, TaggedSentence, read_tagged
from xner.errors import ConfigError, DataError
from xner.shards.schema import PSEUDO
from xner.text.iob2 import decode
from xner.text.words import segment


def read(path: Path, content: bytes | str, **settings: Any) -> list[TaggedSentence]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_tagged(TaggedSourceConfig(path=str(path), **settings))


def tokens(sentence: TaggedSentence) -> list[str]:
    return [sentence.text[start:end] for start, end in sentence.words]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.conll"


@pytest.mark.parametrize("separator", ["\t", " ", "   "])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("tail", ["", "\n", "\n\n\n"])
@pytest.mark.parametrize("head", ["", "\ufeff"])
def test_conll_reads_every_habit_of_layout(
    path: Path, separator: str, ending: str, tail: str, head: str
) -> None:
    rows = ["Tom B-PER", "lebt O", "", "", "in O", "Bad B-LOC", "Ems I-LOC"]
    content = head + ending.join(row.replace(" ", separator) for row in rows)
    first, second = read(path, content + tail.replace("\n", ending), lang="de")
    assert first == TaggedSentence("Tom lebt", ((0, 3), (4, 8)), ("B-PER", "O"), "de", 1.0)
    assert second.text == "in Bad Ems"
    assert second.tags == ("O", "B-LOC", "I-LOC")


def test_conll_takes_no_column_from_a_tab_at_the_end_of_a_row(path: Path) -> None:
    # As in line 18,781 of the GermEval test set.
    (sentence,) = read(path, '1\tso\tO\tO\n2\t"\tO\tO\t\n', token_column=1)
    assert tokens(sentence) == ["so", '"']


def test_conll_ends_sentences_at_document_marks(path: Path) -> None:
    content = "-DOCSTART- -X- O O\n\nTom NNP I-NP I-PER\n-DOCSTART- -X- O O\nAnn NNP I-NP I-PER\n"
    assert [sentence.text for sentence in read(path, content)] == ["Tom", "Ann"]


def test_conll_tells_comments_from_the_token_hash(path: Path) -> None:
    content = "# text = # O\n1\t#\tO\t-\n# a comment\n2\t# x\tO\t-\n3\t#UN\tB-ORG\t-\n"
    (sentence,) = read(path, content, token_column=1, tag_column=2)
    assert tokens(sentence) == ["#", "# x", "#UN"]
    (sentence,) = read(path, "# O\n# of the file\n# author\nfinished O\n# O\n2 O\n")
    assert tokens(sentence) == ["#", "finished", "#", "2"]
    # Nothing stands behind the mark; within a sentence it is a token that lost its tag.
    content = "# \n#\n# sent_id = 1\n1 a O\n2 # O\n"
    (sentence,) = read(path, content, token_column=1, tag_column=2)
    assert (sentence.sent_id, tokens(sentence)) == ("1", ["a", "#"])


def test_conll_gives_the_ids_of_sentences(path: Path) -> None:
    content = (
        "# newdoc id = d\n# sent_id = d-1\n# text = a\na O\n\nb O\n\n"
        "# sent_id=d 3\r\nc O\n\n# sent_id = O\nd O\n"
    )
    sentences = read(path, content)
    assert [sentence.sent_id for sentence in sentences] == ["d-1", None, "d 3", "O"]


def test_conll_splits_lines_at_line_feeds_only(path: Path) -> None:
    odd = ["a\u0085b", "a\u2028b", "\u00a0", "x\u000by", "\u3000", "a\rb"]
    (sentence,) = read(path, "".join(f"{token}\tO\n" for token in odd))
    assert tokens(sentence) == odd
    (sentence,) = read(path, "".join(f"{token} O\n" for token in odd))
    assert tokens(sentence) == odd


def test_conll_joins_tokens_as_the_language_writes(path: Path) -> None:
    content = "他 O\n用 O\nWindows B-MISC\n10 I-MISC\n。 O\n"
    (sentence,) = read(path, content, lang="zh")
    assert sentence.text == "他用Windows 10。"
    assert decode(sentence.tags, sentence.words)[0].end == 12


@pytest.mark.parametrize(
    "tags",
    [
        ["B-PER", "I-PER", "B-PER", "O", "B-LOC"],
        ["I-PER", "I-PER", "B-PER", "O", "I-LOC"],
        ["B-PER", "E-PER", "S-PER", "O", "S-LOC"],
        ["B-PER", "L-PER", "U-PER", "O", "U-LOC"],
    ],
)
def test_conll_converts_every_scheme_to_iob2(path: Path, tags: list[str]) -> None:
    (sentence,) = read(path, "".join(f"w {tag}\n" for tag in tags))
    assert sentence.tags == ("B-PER", "I-PER", "B-PER", "O", "B-LOC")


def test_conll_leaves_out_rows_without_a_token(path: Path) -> None:
    first, second = read(path, "a\tI-PER\n\tO\nb \tI-PER\n\n \tO\n\nc\tO\n")
    assert tokens(first) == ["a", "b"]
    assert first.tags == ("B-PER", "B-PER")
    assert second.text == "c"


def test_conll_label_map_renames_and_drops(path: Path) -> None:
    content = "a B-person\nb I-person\nc B-LOCderiv\nd I-LOCderiv\ne B-LOC\n"
    label_map = {"person": "PER", "LOCderiv": "O", "LOC": "LOC", "unused": "O"}
    (sentence,) = read(path, content, label_map=label_map)
    assert sentence.tags == ("B-PER", "I-PER", "O", "O", "B-LOC")


def test_conll_label_map_must_name_every_type(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"some\.conll: label_map does not name group, product;"):
        read(path, "a B-product\nb B-group\nc B-PER\n", label_map={"PER": "PER"})


def test_conll_words_of_a_type_that_teaches_nothing_are_unknown(path: Path) -> None:
    label_map = {"loc": "LOC", "misc": "?"}
    content = "a B-misc\nb I-misc\nc B-loc\nd O\n"
    (sentence,) = read(path, content, label_map=label_map, not_annotated=["PER"])
    assert sentence.tags == ("?", "?", "B-LOC", "O")


def test_conll_sentences_carry_the_types_that_their_source_does_not_mark(path: Path) -> None:
    settings: dict[str, Any] = {"label_map": {"person": "PER"}, "not_annotated": ["MISC", "LOC"]}
    (sentence,) = read(path, "a B-person\n", **settings)
    assert sentence.not_annotated == ("LOC", "MISC")
    (plain,) = read(path, "a B-PER\n")
    assert plain.not_annotated == ()
    with pytest.raises(ConfigError, match=r"conll: not_annotated names PER, which the source mark"):
        read(path, "a B-person\n", **settings | {"not_annotated": ["PER", "MISC"]})


def test_conll_sample_is_fixed_ordered_and_nested(path: Path) -> None:
    content = "".join(f"w{index} O\n\n" for index in range(100))
    every = [sentence.text for sentence in read(path, content)]
    ten, twenty = (
        [sentence.text for sentence in read(path, content, max_sentences=num)] for num in (10, 20)
    )
    assert (len(ten), len(twenty)) == (10, 20)
    assert ten == [text for text in every if text in set(ten)]
    assert set(ten) < set(twenty)
    assert ten != every[:10]
    assert len(read(path, content, max_sentences=1000)) == 100


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (b"a O\nb O extra\n", {}, r"conll:2: 3 columns, expected 2 as in line 1: 'b O extra'"),
        (b"# c\n\na\tO\nb\n", {}, r"conll:4: 1 columns, expected 2 as in line 3"),
        (
            b"a O\nM\xfcller O\n",
            {},
            r"conll:2: byte 2 of the line, 0xfc, is not utf-8; .*set `encoding`",
        ),
        (b"a O\nb NN\n", {}, r"conll:2: 'NN' is not a tag; .* is tag_column = -1 right\?"),
        (
            b"a O\nb B-PER\n\nc O\nd I-PER\n",
            {},
            r"conll:4: in the sentence .* position 1: 'I-PER' .*; repair_tags = true",
        ),
        (b"a\tB-PER\rb\tO\r", {}, r"conll: its lines end in CR alone; expected LF or CR LF"),
        (b"a E-PER\nb L-PER\n", {}, r"conll: no scheme has the prefixes E, L together"),
        (b"a\tO\n\tB-PER\n", {}, r"conll:1: .* position 1: the tag B-PER on an empty token"),
        (b"", {}, r"conll: no row of a token and a tag"),
        (b"# only a comment\n#\n\n", {}, r"conll: no row of a token and a tag"),
        (b"a O\n#\nb O\n", {}, r"conll:2: 1 columns, expected 2 as in line 1: '#'"),
        (b" \tO\n\tO\n", {}, r"conll: no sentences"),
    ],
)
def test_conll_names_the_place_of_bad_data(
    path: Path, content: bytes, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(path, content, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tag_column": 3}, r"conll: tag_column is 3, but line 1 has 2 columns"),
        ({"token_column": -3}, r"conll: token_column is -3, but line 1 has 2 columns"),
        ({"token_column": 1}, r"conll: token_column and tag_column are the same one"),
    ],
)
def test_conll_refuses_columns_that_are_not_there(
    path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(path, "a O\n", **settings)


def test_conll_refuses_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.conll: no such file"):
        read_tagged(TaggedSourceConfig(path=str(tmp_path / "none.conll")))
    with pytest.raises(ConfigError, match="is a folder"):
        read_tagged(TaggedSourceConfig(path=str(tmp_path)))


def test_conll_reads_any_fsspec_location() -> None:
    with fsspec.open("memory://tagged/a.conll", "wb") as file:
        file.write(b"Tom B-PER\n")
    (sentence,) = read_tagged(TaggedSourceConfig(path="memory://tagged/a.conll"))
    assert sentence.tags == ("B-PER",)


def pseudo_row(index: int, text: str, **changes: Any) -> dict[str, Any]:
    row = {
        "pair_id": f"pair{index}",
        "corpus": "Made",
        "source_lang": "en",
        "target_lang": "de",
        "source": "unused",
        "target": text,
        "mentions": [
            {"start": 0, "end": 3, "label": "PER", "score": 0.875, "alignment_score": 0.25}
        ],
        "tokens": [text[start:end] for start, end in segment(text)],
        "weight": 0.5,
        "status": "ok",
    }
    return {**row, **changes}


def write_shard(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=PSEUDO), folder / name)


def read_pseudo(path: Path, **settings: Any) -> list[TaggedSentence]:
    return read_tagged(TaggedSourceConfig(path=str(path), format="pseudo", **settings))


def sentence(
    text: str, tags: tuple[str, ...], weight: float, scores: tuple[tuple[float, float], ...]
) -> TaggedSentence:
    return TaggedSentence(text, tuple(segment(text)), tags, "de", weight, scores=scores)


def test_pseudo_reads_the_accepted_rows_of_all_shards(tmp_path: Path) -> None:
    rows = [
        pseudo_row(0, "Tom lebt."),
        pseudo_row(1, "Ann lebt.", status="filtered", reason="unplaced", tokens=None),
        pseudo_row(2, "Es regnet.", mentions=[], weight=1.0),
    ]
    write_shard(tmp_path, "b.parquet", [pseudo_row(3, "Eva Bad")])
    write_shard(tmp_path, "a.parquet", rows)
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "_tmp-c.parquet").write_bytes(b"torn")
    assert read_pseudo(tmp_path) == [
        sentence("Tom lebt.", ("B-PER", "O", "O"), 0.5, ((0.875, 0.25), (1, 1), (1, 1))),
        sentence("Es regnet.", ("O", "O", "O"), 1.0, ((1, 1), (1, 1), (1, 1))),
        sentence("Eva Bad", ("B-PER", "O"), 0.5, ((0.875, 0.25), (1, 1))),
    ]
    assert [s.text for s in read_pseudo(tmp_path / "b.parquet")] == ["Eva Bad"]
    assert read_pseudo(tmp_path, label_map={"PER": "O"})[0].tags == ("O", "O", "O")


def test_pseudo_reads_some_corpora_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for shard in range(2):
        rows = [
            pseudo_row(i, f"Tom {shard} {i}", corpus=("News", "Talks", "Web")[i % 3])
            for i in range(12)
        ]
        write_shard(tmp_path, f"{shard}.parquet", rows)
    both = [s.text for s in read_pseudo(tmp_path, corpora=["News", "Web"])]
    assert len(both) == 16 and not any(int(text.split()[2]) % 3 == 1 for text in both)
    # A sample is one of these, and the smaller one lies in the larger.
    samples = [
        {s.text for s in read_pseudo(tmp_path, corpora=["News", "Web"], max_sentences=size)}
        for size in (3, 9)
    ]
    assert [len(sample) for sample in samples] == [3, 9]
    assert samples[0] < samples[1] < set(both)
    assert not caplog.records
    assert len(read_pseudo(tmp_path, corpora=["News", "Wbe"])) == 8
    assert "corpora: no rows of Wbe; it has News, Talks, Web" in caplog.text
    with pytest.raises(DataError, match="no sentences of Nowhere"):
        read_pseudo(tmp_path, corpora=["Nowhere"])
    with pytest.raises(ValueError, match='only rows of format "pseudo" name theirs'):
        TaggedSourceConfig(path="a.conll", corpora=["News"])


def test_pseudo_reads_one_language_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    codes = ("de", "de_AT", "nl")
    rows = [
        pseudo_row(i, f"Tom {i}", target_lang=codes[i % 3], corpus="NW"[i % 2]) for i in range(12)
    ]
    write_shard(tmp_path, "0.parquet", rows[:6])
    write_shard(tmp_path, "1.parquet", rows[6:])
    assert {s.lang for s in read_pseudo(tmp_path)} == set(codes)
    for lang in ("de", "de_CH"):
        german = read_pseudo(tmp_path, lang=lang)
        assert [s.lang for s in german] == ["de", "de_AT"] * 4
    assert len(read_pseudo(tmp_path, lang="de", corpora=["N"])) == 4
    assert not caplog.records
    with pytest.raises(DataError, match="no sentences of fr"):
        read_pseudo(tmp_path, lang="fr")
    assert "lang: no rows of fr; it has de, de_AT, nl" in caplog.text


def test_pseudo_scores_of_words_are_those_of_the_mentions_that_their_tags_are_of(
    tmp_path: Path,
) -> None:
    """Two mentions share the word in the middle; nobody scored the place of the last."""
    mentions = [
        {"start": 7, "end": 14, "label": "LOC", "score": 0.5},
        {"start": 0, "end": 6, "label": "PER", "score": 0.75, "alignment_score": 0.25},
    ]
    write_shard(tmp_path, "a.parquet", [pseudo_row(0, "Tom EvaBad Ulm.", mentions=mentions)])
    (found,) = read_pseudo(tmp_path)
    assert found.tags == ("B-PER", "I-PER", "B-LOC", "O")
    assert found.scores == ((0.75, 0.25), (0.75, 0.25), (0.5, 1.0), (1.0, 1.0))


def test_pseudo_samples_over_all_shards(tmp_path: Path) -> None:
    for shard in range(3):
        rows = [pseudo_row(i, f"Tom {shard} {i}") for i in range(20)]
        rows[::4] = [row | {"status": "error", "reason": "empty"} for row in rows[::4]]
        write_shard(tmp_path, f"{shard}.parquet", rows)
    every = [s.text for s in read_pseudo(tmp_path)]
    some = [s.text for s in read_pseudo(tmp_path, max_sentences=30)]
    assert (len(every), len(some)) == (45, 30)
    assert some == [text for text in every if text in set(some)]
    assert {text.split()[1] for text in some} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": ["Tom", "lebt."]}, r"row pair0: `tokens` are not the words of `target`"),
        ({"mentions": None}, r"a\.parquet: row pair0: null in mentions"),
        ({"mentions": [{"start": 90, "end": 93, "label": "PER"}]}, r"row pair0: .*covers none"),
        ({"mentions": [{"start": 3, "end": 3, "label": "PER"}]}, r"row pair0: a span needs"),
        ({"status": "filtered", "reason": "unplaced"}, r"no sentences"),
    ],
)
def test_pseudo_names_the_row_of_bad_data(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_shard(tmp_path, "a.parquet", [pseudo_row(0, "Tom lebt.", **changes)])
    with pytest.raises(DataError, match=message):
        read_pseudo(tmp_path)


def test_pseudo_refuses_what_project_corpus_did_not_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nor a folder with \*\.parquet in it"):
        read_pseudo(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        read_pseudo(tmp_path / "none.parquet")
    (tmp_path / "a.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet shard"):
        read_pseudo(tmp_path)
    pq.write_table(pa.table({"target": ["a"], "status": ["ok"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="lacks the columns mentions, pair_id"):
        read_pseudo(tmp_path)


UNER = {"token_column": 1, "tag_column": 2}


@pytest.mark.parametrize(
    ("name", "label_map", "lang", "settings", "num_sentences", "num_words", "num_mentions"),
    [
        ("projection_gold/en-europarl.test.conll02", "europarl", "en", {}, 799, 22320, 702),
        ("projection_gold/de-europarl.test.conll02", "europarl", "de", {}, 799, 20187, 693),
        ("projection_gold/es-europarl.test.conll02", "europarl", "es", {}, 799, 23279, 697),
        ("projection_gold/zh_pud-ud-test.iob2", "uner", "zh", UNER, 1000, 21415, 1139),
        ("ner/en/en_ewt-ud-dev.iob2", "uner", "en", UNER, 2001, 25149, 966),
        ("ner/en/WNUT17/data/test/emerging.test.annotated", "wnut17", "en", {}, 1287, 23394, 1079),
        ("ner/en/wikigold/data/wikigold.conll.txt", "wikigold", "en", {}, 1696, 39007, 3558),
        # Two rows of this file hold no token.
        ("ner/en/BTC/data/f.conll", "btc", "en", {}, 2000, 35425, 4376),
        ("ner/de/dev.tsv", "germeval", "de", UNER, 2200, 41653, 2239),
    ],
)
def test_conll_reads_real_corpora_to_the_last_word(
    shared_data: Path,
    name: str,
    label_map: str,
    lang: str,
    settings: dict[str, int],
    num_sentences: int,
    num_words: int,
    num_mentions: int,
) -> None:
    config = TaggedSourceConfig(
        path=str(shared_data / name), lang=lang, label_map=LABEL_MAPS[label_map], **settings
    )
    sentences = read_tagged(config)
    assert len(sentences) == num_sentences
    assert sum(len(sentence.words) for sentence in sentences) == num_words
    found = Counter(
        mention.label for sentence in sentences for mention in decode(sentence.tags, sentence.words)
    )
    assert found.total() == num_mentions
    assert found.keys() <= {"PER", "LOC", "ORG", "MISC"}
