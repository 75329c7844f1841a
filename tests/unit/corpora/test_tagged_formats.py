"""Each format, and each layout of a well-known set, on sentences made here."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from xner.config import TaggedSourceConfig
from xner.corpora.tagged import LABEL_MAPS, TaggedSentence, read_tagged
from xner.errors import ConfigError, DataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.file"


def read(path: Path, content: bytes | str = b"", **settings: Any) -> list[TaggedSentence]:
    if content:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_tagged(TaggedSourceConfig(path=str(path), **settings))


def tokens(sentence: TaggedSentence) -> list[str]:
    return [sentence.text[start:end] for start, end in sentence.words]


def lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


CONLL_2002_ES = "Ana B-PER\nMuñoz I-PER\nvivió O\nen O\nCórdoba B-LOC\n. O\n"
CONLL_2002_NL = "-DOCSTART- -DOCSTART- O\nPiet N B-PER\nwoont V O\nin Prep O\nCoördam N B-LOC\n"
CONLL_2003_DE = (
    "-DOCSTART- -X- -X- -X- O\n\n"
    "Jörg Jörg NE I-NC I-PER\nMüller <unknown> NE I-NC I-PER\nwohnt wohnen VVFIN I-VC O\n"
    "\nKöln Köln NE I-NC I-LOC\nBonn Bonn NE I-NC B-LOC\n"
)
CONLL_2003_EN = "-DOCSTART- -X- O O\n\nAnn NNP I-NP I-PER\nleft VBD I-VP O\nYork NNP I-NP I-LOC\n"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize(
    ("content", "texts", "tags"),
    [
        (
            CONLL_2002_ES,
            ["Ana Muñoz vivió en Córdoba ."],
            ["B-PER", "I-PER", "O", "O", "B-LOC", "O"],
        ),
        (CONLL_2002_NL, ["Piet woont in Coördam"], ["B-PER", "O", "O", "B-LOC"]),
        (
            CONLL_2003_DE,
            ["Jörg Müller wohnt", "Köln Bonn"],
            ["B-PER", "I-PER", "O", "B-LOC", "B-LOC"],
        ),
        (CONLL_2003_EN, ["Ann left York"], ["B-PER", "O", "B-LOC"]),
    ],
    ids=["es", "nl", "de", "en"],
)
def test_conll_sets_of_2002_and_2003(
    path: Path, encoding: str, content: str, texts: list[str], tags: list[str]
) -> None:
    sentences = read(
        path, content.encode(encoding), encoding=encoding, label_map=LABEL_MAPS["conll"]
    )
    assert [sentence.text for sentence in sentences] == texts
    assert [tag for sentence in sentences for tag in sentence.tags] == tags


def test_conll_latin_1_may_hold_a_next_line_character(path: Path) -> None:
    (sentence,) = read(path, b"a\x85b O\n\x85 O\n\xa0 O\n", encoding="latin-1")
    assert tokens(sentence) == ["a\x85b", "\x85", "\xa0"]


def test_conll_universal_ner(path: Path) -> None:
    content = (
        "# newdoc id = d\n# sent_id = d-1\n# text = Eva lebt in Bad Ems\n"
        "1\tEva\tB-PER\t-\t-\n2\tlebt\tO\t-\t-\n3\tin\tO\t-\t-\n4\tBad\tB-LOC\t-\t-\n"
        "5\tEms\tI-LOC\t-\t-\n\n"
    )
    settings = {"token_column": 1, "tag_column": 2, "label_map": LABEL_MAPS["uner"]}
    (sentence,) = read(path, content, lang="de", **settings)
    assert sentence.text == "Eva lebt in Bad Ems"
    assert sentence.tags == ("B-PER", "O", "O", "B-LOC", "I-LOC")
    assert sentence.sent_id == "d-1"


def test_conll_germeval(path: Path) -> None:
    content = (
        "#\thttp://example.org/a [2010-01-01]\n1\tDie\tO\tO\n2\tBonner\tB-LOCderiv\tO\n"
        "3\tUni\tB-ORG\tO\n4\tBonn\tI-ORG\tB-LOC\n\n#\ta.example [2010-01-01]\n1\t#\tO\tO\n"
    )
    settings = {"token_column": 1, "tag_column": 2, "label_map": LABEL_MAPS["germeval"]}
    first, second = read(path, content, lang="de", **settings)
    assert first.text == "Die Bonner Uni Bonn"
    assert first.tags == ("O", "O", "B-ORG", "I-ORG")
    assert second.text == "#"
    (sentence,) = read(path, "a\tO\n#\tO\n#\ta.example\nb\tO\n")
    assert tokens(sentence) == ["a", "#", "b"]


def test_conll_wikiann_tokens_stand_behind_their_language(path: Path) -> None:
    content = "de:Ems\tB-LOC\nde::\tO\nde:http://x\tO\n\nde:Eva\tB-PER\nde:de:x\tI-PER\n"
    first, second = read(path, content, lang="de", label_map=LABEL_MAPS["wikiann"])
    assert tokens(first) == ["Ems", ":", "http://x"]
    assert tokens(second) == ["Eva", "de:x"]
    assert second.tags == ("B-PER", "I-PER")
    # Another prefix, or none, says that the file is none of these.
    (sentence,) = read(path, "de:a\tO\nen:b\tO\n")
    assert tokens(sentence) == ["de:a", "en:b"]


def test_conll_wikiann_of_simple_english(path: Path) -> None:
    first, second = read(path, "simple:Paris B-LOC\nsimple:is O\n\nsimple:Rome B-LOC\n")
    assert [*tokens(first), *tokens(second)] == ["Paris", "is", "Rome"]


@pytest.mark.parametrize("between", ["\t", " ", "    "])
def test_conll_multiconer(path: Path, between: str) -> None:
    head = f"# id 3d0d9f1e-0000-4000-8000-000000000000{between}domain=en\n"
    content = (
        f"\n{head}eva _ _ B-PER\nwrote _ _ O\nthe _ _ B-CW\nriver _ _ I-CW\n\n"
        f"{head}# _ _ O\nacme _ _ B-CORP\n\n\n"
    )
    first, second = read(path, content, label_map=LABEL_MAPS["multiconer"])
    assert first.text == "eva wrote the river"
    assert first.tags == ("B-PER", "O", "B-MISC", "I-MISC")
    assert (second.text, second.tags) == ("# acme", ("O", "B-ORG"))


def test_conll_multiconer_2_has_fine_types(path: Path) -> None:
    content = "# id 1\tdomain=en\neva _ _ B-OtherPER\ngot _ _ O\nsera _ _ B-Medication/Vaccine\n"
    (sentence,) = read(path, content, label_map=LABEL_MAPS["multiconer2"])
    assert sentence.tags == ("B-PER", "O", "O")


def test_conll_masakhaner(path: Path) -> None:
    content = "Mwaka B-DATE\n2020 I-DATE\nAmina B-PER\nalifika O\nMoshi B-LOC\n. O\n\n"
    (sentence,) = read(path, content, lang="swa", label_map=LABEL_MAPS["masakhaner"])
    assert sentence.text == "Mwaka 2020 Amina alifika Moshi ."
    assert sentence.tags == ("O", "O", "B-PER", "O", "B-LOC", "O")


def test_text_formats_may_be_gzipped(path: Path) -> None:
    assert read(path, gzip.compress(b"Tom B-PER\n"))[0].text == "Tom"
    row = lines([{"tokens": ["Tom"], "ner_tags": ["B-PER"]}])
    assert read(path, gzip.compress(row.encode()), format="jsonl")[0].text == "Tom"
    with pytest.raises(DataError, match=r"some\.file: truncated"):
        read(path, gzip.compress(b"Tom B-PER\n" * 9)[:-9])


def test_jsonl_of_tokens_and_tags(path: Path) -> None:
    rows = [
        {"id": "7", "tokens": ["Tom", "Roe\u0085", "lebt"], "ner_tags": ["B-PER", "I-PER", "O"]},
        {"text": "ignored", "tokens": ["他", "来"], "ner_tags": ["B-PER", "O"]},
    ]
    first, second = read(path, lines(rows) + "\n\n", format="jsonl", lang="zh")
    assert first.tags == ("B-PER", "I-PER", "O")
    assert tokens(first) == rows[0]["tokens"]
    assert second.text == "他来"


def test_jsonl_tags_may_be_numbers_of_names(path: Path) -> None:
    rows = lines([{"tokens": ["Tom", "in", "Ems"], "ner_tags": [1, 0, 3]}])
    names = ["O", "B-PER", "I-PER", "B-LOC"]
    (sentence,) = read(path, rows, format="jsonl", tag_names=names)
    assert sentence.tags == ("B-PER", "O", "B-LOC")
    with pytest.raises(ConfigError, match=r"file:1: ner_tags are numbers, .* tag_names"):
        read(path, rows, format="jsonl")


@pytest.mark.parametrize("key", ["spans", "entities", "mentions"])
def test_jsonl_of_text_and_spans(path: Path, key: str) -> None:
    text = "🦊 Eva Roe, Bonn; 他"
    spans = [
        {"start": 11, "end": 15, "label": "LOC", "score": 0.5},
        {"start": 2, "end": 9, "label": "PER"},
    ]
    rows = [{"text": text, key: spans}, {"text": "leer", key: []}, {"text": "  ", key: []}]
    first, second = read(path, lines(rows), format="jsonl", lang="de")
    assert first.text == text
    assert tokens(first) == ["🦊", "Eva", "Roe", ",", "Bonn", ";", "他"]
    assert first.tags == ("O", "B-PER", "I-PER", "O", "B-LOC", "O", "O")
    assert second.tags == ("O",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"file:2: not JSON: "),
        ("[]", r"file:2: expected a JSON object, found '\[\]'"),
        ('{"tokens": ["a"]}', r"file:2: expected the keys tokens and ner_tags, or text and one of"),
        ('{"text": "a"}', r"file:2: expected the keys .* found text"),
        ('{"text": "a", "spans": [], "entities": []}', r"file:2: expected the keys"),
        ('{"text": "a", "spans": [[0, 1, "X"]]}', r"file:2: a span needs start and end"),
        ('{"ner_tags": ["O"]}', r"file:2: `tokens` and `ner_tags` must be lists"),
        ('{"tokens": ["a", 1], "ner_tags": ["O", "O"]}', r"file:2: a token is no text"),
        ('{"tokens": ["a", "b"], "ner_tags": ["O"]}', r"file:2: 1 ner_tags for 2 tokens"),
        ('{"tokens": ["a"], "ner_tags": ["PER"]}', r"file:2: 'PER' is not a tag; expected O, B-"),
        ('{"tokens": ["a"], "ner_tags": [null]}', r"file:2: 'None' is not a tag"),
        ('{"tokens": ["a"], "ner_tags": [2]}', r"file:2: the tag number 2, but there are 2 names"),
        ('{"tokens": ["", "b"], "ner_tags": ["B-X", "O"]}', r"file:2: .* B-X on an empty token"),
        ('{"tokens": ["a"], "ner_tags": ["I-PER"]}', r"file:2: .* position 0: 'I-PER' after"),
    ],
)
def test_jsonl_names_the_line_of_bad_data(path: Path, row: str, message: str) -> None:
    good = '{"tokens": ["a"], "ner_tags": ["B-PER"]}\n'
    with pytest.raises(DataError, match=message):
        read(path, good + row, format="jsonl", tag_names=["O", "B-PER"])


@pytest.mark.parametrize(
    ("text", "spans", "message"),
    [
        ("Bonn-Ems", [(0, 4, "LOC")], r"'Bonn' at \[0, 4\) is not made of whole words of 'Bonn-E"),
        ("Bonn", [(0, 9, "LOC")], r"'Bonn' at \[0, 9\) is not made of whole words"),
        ("Bonn", [(5, 9, "LOC")], r".* covers none of the 1 words"),
        ("a b", [(0, 3, "X"), (2, 3, "Y")], r"mentions overlap"),
        ("Bonn", [(2, 2, "LOC")], r"a span needs 0 <= start < end"),
        ("Bonn", [(0, "4", "LOC")], r"a span needs start and end, two numbers, and a label"),
        ("Bonn", [(0, 4, "")], r"a span needs start and end"),
        ("Bonn", [(0, 4)], r"a span needs start and end"),
    ],
)
def test_jsonl_names_the_line_of_a_bad_span(
    path: Path, text: str, spans: list[tuple[Any, ...]], message: str
) -> None:
    marked = [dict(zip(("start", "end", "label"), span, strict=False)) for span in spans]
    rows = lines([{"text": "a", "spans": []}, {"text": text, "spans": marked}])
    with pytest.raises(DataError, match=f"file:2: {message}"):
        read(path, rows, format="jsonl")


def test_jsonl_leaves_out_what_prodigys_annotators_did_not_accept(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spans = [{"start": 2, "end": 5, "label": "PER", "token_start": 1, "token_end": 1}]
    rows = [
        {"text": "\U0001f600 Tom", "spans": spans, "answer": "accept"},
        {"text": "nobody", "answer": "accept"},
        {"text": "Tom", "spans": [], "answer": "reject"},
        {"text": "Tom", "spans": [], "answer": "ignore"},
    ]
    found = read(path, lines(rows), format="jsonl")
    assert [sentence.tags for sentence in found] == [("O", "B-PER"), ("O",)]
    assert "2 lines left out: not accepted" in caplog.text


def task(text: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": 7, "data": {"text": text}, "annotations": list(annotations), "predictions": []}


def annotation(*spans: tuple[int, int, str], **settings: Any) -> dict[str, Any]:
    result = [
        {"id": "a", "type": "labels", "from_name": "label", "to_name": "text", "origin": "manual"}
        | {"value": {"start": start, "end": end, "labels": [label]}}
        for start, end, label in spans
    ]
    return {"result": result, "was_cancelled": False, "ground_truth": False, **settings}


def test_label_studio_takes_the_annotation_that_counts(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = [
        task("\U0001f600 Tom", annotation((2, 5, "ORG")), annotation((2, 5, "PER"))),
        task("Tom", annotation((0, 3, "PER"), ground_truth=True), annotation((0, 3, "LOC"))),
        task("Tom", annotation((0, 3, "PER")), annotation(was_cancelled=True)),
        task("nobody", annotation()),
        task("Tom", annotation((0, 3, "PER"), was_cancelled=True)),
        task("Tom"),
    ]
    found = read(path, json.dumps(tasks, indent=1), format="label-studio")
    assert [sentence.tags for sentence in found] == [
        ("O", "B-PER"),
        ("B-PER",),
        ("B-PER",),
        ("O",),
    ]
    assert "2 tasks left out: no submitted annotation" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not JSON"),
        ("{}", "expected a list of tasks"),
        ("[3]", "task 1: expected data.text and annotations"),
        ('[{"data": {"txt": "a"}, "annotations": []}]', r"task 1: .*KeyError: 'text'"),
        (
            json.dumps([task("Tom", annotation((0, 2, "PER")))]),
            r"task 1: 'To' at \[0, 2\) is not made of whole words",
        ),
        (
            json.dumps([task("Tom Doe", annotation((0, 7, "PER"), (4, 7, "LOC")))]),
            "task 1: mentions overlap",
        ),
        (json.dumps([task("Tom", annotation())]).replace('"result": []', '"result": [{}]'), "task"),
    ],
)
def test_label_studio_names_the_task_of_bad_data(path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=f"{path}: {message}"):
        read(path, content, format="label-studio")


def test_label_studio_compares_the_text_that_was_marked(path: Path) -> None:
    marked = annotation((3, 6, "PER"))
    # An old version: the emoji was counted twice.
    marked["result"][0]["value"]["text"] = "Tom"
    with pytest.raises(DataError, match=r"'om ' at \[3, 6\), but Label Studio marked 'Tom'"):
        read(path, json.dumps([task("\U0001f600 Tom Doe", marked)]), format="label-studio")
    marked = annotation((0, 7, "PER"))
    marked["result"][0]["value"]["text"] = "Tom\\nDoe"
    (sentence,) = read(path, json.dumps([task("Tom\nDoe", marked)]), format="label-studio")
    assert sentence.tags == ("B-PER", "I-PER")


def test_label_studio_leaves_white_space_out_of_mentions(path: Path) -> None:
    marked = annotation((1, 6, "PER"), (8, 13, "LOC"))
    marked["result"][0]["value"]["text"] = " Tom "
    (sentence,) = read(
        path, json.dumps([task("\U0001f600 Tom in Bonn ", marked)]), format="label-studio"
    )
    assert sentence.tags == ("O", "B-PER", "O", "B-LOC")
    for span in ((1, 2, "PER"), (9, 15, "LOC")):
        with pytest.raises(DataError, match=r"not made of whole words|covers none"):
            read(
                path,
                json.dumps([task("\U0001f600 Tom in Bonn ", annotation(span))]),
                format="label-studio",
            )


def write_parquet(path: Path, tags: pa.Array, noted: dict[str, Any] | None = None) -> None:
    table = pa.table({"tokens": [["Tom", "Roe"]], "ner_tags": tags})
    if noted is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(noted)})
    pq.write_table(table, path)


@pytest.mark.parametrize(
    "type_", [pa.list_(pa.string()), pa.large_list(pa.large_string())], ids=str
)
def test_parquet_tags_may_be_names(path: Path, type_: pa.DataType) -> None:
    write_parquet(path, pa.array([["B-PER", "I-PER"]], type_))
    assert read(path, format="parquet")[0].tags == ("B-PER", "I-PER")


def test_parquet_reads_what_older_versions_of_the_datasets_library_noted(path: Path) -> None:
    feature = [{"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"}]
    noted = {"info": {"features": {"ner_tags": feature}}}
    write_parquet(path, pa.array([[1, 2]], pa.list_(pa.int8())), noted)
    assert read(path, format="parquet")[0].tags == ("B-PER", "I-PER")


def test_parquet_names_the_row_of_bad_data(path: Path) -> None:
    write_parquet(path, pa.array([[1, 2]]), {"info": {"features": {}}})
    with pytest.raises(ConfigError, match=r"file: row 1: ner_tags are numbers, .* tag_names"):
        read(path, format="parquet")
    with pytest.raises(DataError, match=r"file: row 1: the tag number 2, but there are 2 names"):
        read(path, format="parquet", tag_names=["O", "B-PER"])
    write_parquet(path, pa.array([["O"]]))
    with pytest.raises(DataError, match=r"file: row 1: 1 ner_tags for 2 tokens"):
        read(path, format="parquet")
    write_parquet(path, pa.array([None], pa.list_(pa.string())))
    with pytest.raises(DataError, match=r"file: row 1: `tokens` and `ner_tags` must be lists"):
        read(path, format="parquet")
    pq.write_table(pa.table({"tokens": [["a"]], "tags": [["O"]]}), path)
    with pytest.raises(DataError, match=r"lacks the columns ner_tags; it has tokens, tags"):
        read(path, format="parquet")
    pq.write_table(pa.table({"tokens": ["a"], "ner_tags": ["O"]}), path)
    with pytest.raises(DataError, match=r"file: does not fit the schema"):
        read(path, format="parquet")


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_rows_are_mapped_sampled_and_repaired_in_every_format(
    path: Path, format: str, caplog: pytest.LogCaptureFixture
) -> None:
    # IOB2 by the first tag of each sentence; the last continues nothing.
    rows = [
        {"tokens": [f"w{i}", "", "x"], "ner_tags": ["B-person", "O", "I-person"]} for i in range(20)
    ]
    if format == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(lines(rows))
    with pytest.raises(DataError, match=r"position 2: 'I-person' .* repair_tags = true"):
        read(path, format=format)
    settings: dict[str, Any] = {"format": format, "repair_tags": True}
    with pytest.raises(ConfigError, match="label_map does not name person"):
        read(path, label_map={"PER": "PER"}, **settings)
    every = read(path, label_map={"person": "PER"}, **settings)
    assert "20 I- tags that continue nothing read as B-" in caplog.text
    assert all(sentence.tags == ("B-PER", "B-PER") for sentence in every)
    some = read(path, max_sentences=5, **settings)
    assert len(some) == 5
    assert {sentence.text for sentence in some} < {sentence.text for sentence in every}


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_rows_of_an_empty_split_are_an_error(path: Path, format: str) -> None:
    if format == "parquet":
        write_parquet(path, pa.array([["O", "O"]]))
        pq.write_table(pq.read_table(path).slice(1), path)
    else:
        path.write_text("\n")
    with pytest.raises(DataError, match=r"some\.file: no sentences"):
        read(path, format=format)


@pytest.mark.parametrize("encoding", ["latin-15b", "base64", " "])
def test_encoding_must_be_one_of_text(encoding: str) -> None:
    with pytest.raises(ValidationError, match=r"encoding\n.*examples: utf-8, latin-1, cp1252"):
        TaggedSourceConfig(path="a", encoding=encoding)
