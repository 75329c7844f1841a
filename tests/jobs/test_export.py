"""Exports opened by the libraries that they are for, and read back; hard scripts included."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pyarrow as pa
import pytest
import yaml
from lxml import etree
from seqeval.metrics.sequence_labeling import get_entities

from xner.config import ExportConfig, TaggedSourceConfig
from xner.corpora.tagged import read_tagged
from xner.errors import ConfigError, DataError, TransientError
from xner.shards import schema
from xner.shards.lease import Lease
from xner.shards.ledger import Run, statistics_of
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder
from xner.text.iob2 import decode, encode, tags_of
from xner.text.mentions import Mention
from xner.text.words import segment

job = runpy.run_path(str(Path(__file__).parents[2] / "jobs" / "export.py"))

TAGS = tags_of(["PER", "LOC", "ORG"])
REASONS = {"ok": None, "filtered": "low_teacher_score", "error": "stage_error"}

TEXTS = [
    # Text, its mentions, status, language.
    ("Angela Merkel war in Berlin.", {"Angela Merkel": "PER", "Berlin": "LOC"}, "ok", "de"),
    ("🎉🎉 Grüße aus Köln 👩‍👩‍👧, sagt Özil!", {"Köln": "LOC", "Özil": "PER"}, "ok", "de"),
    ("  Zwei  Leer\tzeichen \n\nin   Bad  Ems \n", {"Bad  Ems": "LOC"}, "ok", "de"),
    ("Jose\u0301 sah São Paulo.", {"Jose\u0301": "PER", "São Paulo": "LOC"}, "ok", "es"),
    ("默克尔😀访问了北京市。", {"默克尔": "PER", "北京市": "LOC"}, "ok", "zh"),
    ("زارت أنغيلا ميركل القاهرة.", {"أنغيلا ميركل": "PER", "القاهرة": "LOC"}, "ok", "ar"),
    ("Niemand.", {}, "ok", "de"),
    ("Das 𠮷野家 und die ARD", {"𠮷野家": "ORG", "ARD": "ORG"}, "ok", "de"),
    ("Refused Bonn", {"Bonn": "LOC"}, "filtered", "de"),
    ("Poisoned", {}, "error", "de"),
]
ACCEPTED = {
    text: sorted(
        (text.index(name), text.index(name) + len(name), label) for name, label in m.items()
    )
    for text, m, status, _ in TEXTS
    if status == "ok"
}


def row(number: int, text: str, names: dict[str, str], status: str, lang: str) -> dict[str, Any]:
    words = segment(text)
    mentions = [
        Mention(text.index(name), text.index(name) + len(name), label, 0.5)
        for name, label in names.items()
    ]
    return {
        "pair_id": f"pair-{number}",
        "corpus": "Tatoeba" if number % 2 else "Mine",
        "source_lang": "en",
        "target_lang": lang,
        "source": "What was said.",
        "target": text,
        "source_mentions": [],
        "alignments": [],
        "mentions": [
            {"start": m.start, "end": m.end, "label": m.label, "score": 0.5}
            | {"alignment_score": 0.25, "source_index": 0}
            for m in mentions
        ],
        "tokens": [text[start:end] for start, end in words],
        "ner_tags": [TAGS.index(tag) for tag in encode(mentions, words)],
        "weight": 0.125,
        "status": status,
        "reason": REASONS[status],
        "error": "label: KeyError" if status == "error" else None,
    }


@pytest.fixture(scope="module")
def pseudo(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Three shards, two of them with accepted rows."""
    folder = Folder.at(str(tmp_path_factory.mktemp("pseudo")))
    made_by = {"pairs": "feed", "teacher": {"content": "beef"}, "quality": {"max_unplaced": 0}}
    run = Run(folder, "project_corpus", made_by)
    run.open()
    rows = [row(number, *each) for number, each in enumerate(TEXTS)]
    for name, part in (("en-de/0", rows[:5]), ("en-de/1", rows[5:8]), ("en-zh/0", rows[8:])):
        table = schema.with_tag_names(pa.Table.from_pylist(part, schema=schema.PSEUDO), TAGS)
        run.commit(f"{name}.parquet", table, Statistics.of(table))
    return folder


@pytest.fixture
def export(pseudo: Folder, tmp_path: Path) -> Callable[..., Folder]:
    def run(**settings: Any) -> Folder:
        values = {"pseudo": str(pseudo), "output": str(tmp_path / "export"), **settings}
        job["main"](ExportConfig.model_validate(values))
        return Folder.at(values["output"])

    return run


def read_back(folder: Folder, format: str, suffix: str) -> dict[str, list[tuple[int, int, str]]]:
    """The mentions by text, as training reads them from the files of an export."""
    found = {}
    for name in folder.names(suffix):
        for each in read_tagged(TaggedSourceConfig(path=folder.path(name), format=format)):
            mentions = decode(each.tags, each.words)
            found[each.text] = [(m.start, m.end, m.label) for m in mentions]
    return found


def test_export_datasets_is_opened_by_datasets(
    export: Callable[..., Folder], tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    folder = export()
    opened = datasets.load_dataset(
        folder.location, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert opened.features["ner_tags"].feature.names == TAGS
    found = {
        each["target"]: [(m["start"], m["end"], m["label"]) for m in each["mentions"]]
        for each in opened
    }
    assert found == ACCEPTED
    for each in opened:
        names = opened.features["ner_tags"].feature.int2str(each["ner_tags"])
        mentions = [(m.start, m.end, m.label) for m in decode(names, segment(each["target"]))]
        assert mentions == found[each["target"]]
    assert read_back(folder, "pseudo", ".parquet") == ACCEPTED


def test_export_datasets_says_whose_the_text_is(export: Callable[..., Folder]) -> None:
    card = export().read("README.md").decode()
    header = yaml.safe_load(card.split("---")[1])
    assert header["language"] == ["ar", "de", "es", "zh"]
    assert header["license"] == "other"
    assert header["task_categories"] == ["token-classification"]
    assert "| Tatoeba | not noted | 4 | CC BY 2.0 FR |" in card
    assert "| Mine | not noted | 4 | not known to xner |" in card
    assert "| teacher content | beef |" in card
    assert "| quality max_unplaced | 0 |" in card
    assert "| mentions LOC | 6 |" in card


def test_export_counts_the_mentions_of_refused_rows_too(export: Callable[..., Folder]) -> None:
    folder = export(status=["filtered"])
    card = folder.read("README.md").decode()
    assert "with mentions of LOC that" in card
    assert "| mentions LOC | 1 |" in card
    summary = folder.read_record("summary.json")
    assert summary is not None and summary["mentions"] == {"LOC": 1}


def test_export_datasets_has_the_versions_that_were_prepared(
    export: Callable[..., Folder], pseudo: Folder, tmp_path: Path
) -> None:
    pairs = Folder.at(str(tmp_path / "pairs"))
    record = {"archives": {"/o/OPUS-Tatoeba/v7/moses/de-en.txt.zip": 1, "/mine.zip": 2}}
    pairs.publish_json("run.json", {**record, "fingerprint": "feed"})
    card = export(pairs=str(pairs)).read("README.md").decode()
    assert "| Tatoeba | v7 | 4 |" in card
    assert "| Mine | not noted | 4 |" in card
    of_one = Folder.at(str(tmp_path / "of one language"))
    for name in pseudo.names(".parquet"):
        of_one.publish(name, pseudo.read(name))
    for number, made_of in enumerate(("feed/en-de", str(pairs / "en-de"))):
        of_one.publish_json("run.json", {"pairs": made_of, "fingerprint": "x"})
        output = str(tmp_path / f"one {number}")
        folder = export(pseudo=str(of_one), pairs=str(pairs), output=output)
        assert "| Tatoeba | v7 | 4 |" in folder.read("README.md").decode()
    pairs.publish_json("run.json", {**record, "fingerprint": "other"})
    with pytest.raises(ConfigError, match="made of other pairs"):
        export(pairs=str(pairs))


def test_export_conll_is_read_as_columns(export: Callable[..., Folder]) -> None:
    folder = export(format="conll")
    by_tokens = {}
    for name in folder.names(".conll"):
        content = folder.read(name).decode()
        assert content.endswith("\n\n")
        for block in content[:-2].split("\n\n"):
            tokens, tags = zip(*(line.split("\t") for line in block.split("\n")), strict=True)
            by_tokens[tokens] = [
                (first, last + 1, t) for t, first, last in get_entities(list(tags))
            ]
    expected = {}
    for text, mentions in ACCEPTED.items():
        words = segment(text)
        starts, ends = [w[0] for w in words], [w[1] for w in words]
        expected[tuple(text[start:end] for start, end in words)] = [
            (starts.index(start), ends.index(end) + 1, label) for start, end, label in mentions
        ]
    assert by_tokens == expected
    ours = read_back(folder, "conll", ".conll")
    names = {
        tuple(text[start:end].replace(" ", "") for start, end, _ in mentions)
        for text, mentions in ours.items()
    }
    assert names == {
        tuple(text[start:end].replace(" ", "") for start, end, _ in mentions)
        for text, mentions in ACCEPTED.items()
    }


def test_export_spacy_holds_the_raw_text(export: Callable[..., Folder]) -> None:
    spacy = pytest.importorskip("spacy")
    folder = export(format="spacy")
    found, about = {}, set()
    for name in folder.names(".spacy"):
        documents = spacy.tokens.DocBin().from_disk(folder.path(name))
        for document in documents.get_docs(spacy.blank("xx").vocab):
            entities = [(e.start_char, e.end_char, e.label_) for e in document.ents]
            found[document.text] = entities
            about.add(document.user_data["pair_id"])
            words = [t.text for t in document if not t.is_space]
            assert words == [document.text[s:e] for s, e in segment(document.text)]
            # Training accepts the entities as they are.
            spacy.training.Example(document.copy(), document).get_aligned_ner()
    assert found == ACCEPTED
    assert about == {f"pair-{number}" for number in range(8)}


def test_export_jsonl_is_read_back(export: Callable[..., Folder]) -> None:
    folder = export(format="jsonl")
    assert read_back(folder, "jsonl", ".jsonl") == ACCEPTED
    lines = folder.read("en-de/0.jsonl").decode().split("\n")
    first = json.loads(lines[0])
    assert first["meta"] == {"pair_id": "pair-0", "corpus": "Mine", "target_lang": "de"} | {
        "source": "What was said.",
        "weight": 0.125,
        "status": "ok",
    }
    for span in first["spans"]:
        covered = first["tokens"][span["token_start"] : span["token_end"] + 1]
        assert (covered[0]["start"], covered[-1]["end"]) == (span["start"], span["end"])


def test_export_tells_what_became_of_a_row(export: Callable[..., Folder], tmp_path: Path) -> None:
    everything = ["ok", "filtered", "error"]
    folder = export(format="jsonl", status=everything)
    lines = [json.loads(line) for line in folder.read("en-zh/0.jsonl").decode().splitlines()]
    assert [line["text"] for line in lines] == ["Refused Bonn", "Poisoned"]
    refused, poisoned = (line["meta"] for line in lines)
    assert (refused["status"], refused["reason"]) == ("filtered", "low_teacher_score")
    assert "error" not in refused
    assert (poisoned["status"], poisoned["reason"]) == ("error", "stage_error")
    assert poisoned["error"] == "label: KeyError"
    folder = export(status=everything, output=str(tmp_path / "datasets"))
    assert folder.read_table("data/en-zh/0.parquet")["error"].to_pylist() == [
        None,
        "label: KeyError",
    ]


def test_export_takes_shards_of_before_errors_were_told(
    export: Callable[..., Folder], pseudo: Folder, tmp_path: Path
) -> None:
    older = Folder.at(str(tmp_path / "older"))
    run = Run(older, "project_corpus", {})
    run.open()
    table = pseudo.read_table("en-de/0.parquet").drop_columns("error")
    run.commit("0.parquet", schema.with_tag_names(table, TAGS), Statistics.of(table))
    folder = export(pseudo=str(older))
    assert folder.read_table("data/0.parquet")["error"].null_count == table.num_rows


def test_export_to_a_folder_that_is_held_is_refused(
    export: Callable[..., Folder], tmp_path: Path
) -> None:
    output = str(tmp_path / "held")
    folder = export(format="jsonl", output=output)
    folder.remove("en-de/1.jsonl")
    with (
        Lease(folder, "export"),
        pytest.raises(TransientError, match="held by another run: export of"),
    ):
        export(format="jsonl", output=output)
    assert folder.names(".jsonl") == ["en-de/0.jsonl"]


def test_export_ends_where_another_run_took_the_folder(
    export: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def taken(lease: Lease) -> None:
        raise TransientError("taken over")

    monkeypatch.setattr(Lease, "check", taken)
    with pytest.raises(TransientError, match="taken over"):
        export(format="jsonl")
    assert Folder.at(str(tmp_path / "export")).names(".jsonl") == ["en-de/0.jsonl"]


def annotated(task: dict[str, Any], **annotation: Any) -> dict[str, Any]:
    """A task as Label Studio exports it after an annotator accepted its prediction."""
    result = [{**each, "origin": "prediction"} for each in task["predictions"][0]["result"]]
    choice = {"type": "choices", "value": {"choices": ["hard"]}, "from_name": "c", "to_name": "t"}
    submitted = {"id": 1, "result": [*result, choice], "was_cancelled": False, **annotation}
    return {"id": 1, "data": task["data"], "annotations": [submitted], "predictions": []}


def test_export_label_studio_comes_back_as_gold(
    export: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published = []
    publish = Folder.publish
    monkeypatch.setattr(
        Folder, "publish", lambda *each: (published.append(each[1]), publish(*each))
    )
    folder = export(format="label-studio")
    assert published.count("labeling_config.xml") == 1
    config = etree.fromstring(folder.read("labeling_config.xml"))
    assert [each.get("value") for each in config.iter("Label")] == ["PER", "LOC", "ORG"]
    tasks = [
        task
        for name in (folder / "tasks").names(".json")
        for task in json.loads(folder.read(f"tasks/{name}"))
    ]
    for task in tasks:
        for each in task["predictions"][0]["result"]:
            value = each["value"]
            # As its interface finds a place: by code points (selection-tools.js).
            assert task["data"]["text"][value["start"] : value["end"]] == value["text"]
            assert each["from_name"] == config.find("Labels").get("name")
            assert each["to_name"] == config.find("Text").get("name")
    path = tmp_path / "project.json"
    path.write_text(json.dumps([annotated(task) for task in tasks]))
    assert read_back(Folder.at(str(tmp_path)), "label-studio", "project.json") == ACCEPTED


def test_export_takes_the_rows_asked_for_and_goes_on(
    export: Callable[..., Folder], pseudo: Folder, tmp_path: Path
) -> None:
    everything = export(format="jsonl", status=["ok", "filtered"], output=str(tmp_path / "all"))
    assert len(everything.names(".jsonl")) == 3
    samples = []
    for size in (3, 3, 8, 50):
        folder = export(format="jsonl", max_rows=size, output=str(tmp_path / f"sample-{size}"))
        lines = [line for n in folder.names(".jsonl") for line in folder.read(n).splitlines()]
        samples.append(lines)
        assert folder.read_json("summary.json")["rows"] == min(size, 8)
    assert [len(lines) for lines in samples] == [3, 3, 8, 8]
    assert samples[0] == samples[1]
    folder = export(format="jsonl", output=str(tmp_path / "whole"))
    before = folder.read("en-de/1.jsonl")
    folder.remove("en-de/1.jsonl")
    folder.publish("en-de/0.jsonl", b"left alone")
    export(format="jsonl", output=str(tmp_path / "whole"))
    assert folder.read("en-de/1.jsonl") == before
    assert folder.read("en-de/0.jsonl") == b"left alone"
    with pytest.raises(ConfigError, match='format: there "jsonl", now "conll"'):
        export(format="conll", output=str(tmp_path / "whole"))
    total = sum(statistics_of(pseudo, n).status.get("ok", 0) for n in pseudo.names(".parquet"))
    plan = job["plan"](ExportConfig(pseudo=str(pseudo), output=str(tmp_path / "new")))
    assert plan["rows"] == str(total) == "8"


def test_export_pushes_to_the_hub_what_belongs_there(
    export: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, dict[str, Any]] = {}

    def create_repo(self: object, repo_id: str, **settings: Any) -> None:
        calls["create"] = {"repo_id": repo_id, **settings}

    def upload_folder(self: object, **settings: Any) -> SimpleNamespace:
        calls["upload"] = settings
        return SimpleNamespace(commit_url="http://hub/commit")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    folder = export(push_to="owner/name")
    assert calls["create"]["private"] is True
    assert (calls["create"]["repo_id"], calls["create"]["repo_type"]) == ("owner/name", "dataset")
    upload = calls["upload"]
    paths = huggingface_hub.utils.filter_repo_objects(
        folder.names(), allow_patterns=upload["allow_patterns"]
    )
    assert sorted(paths) == ["README.md", "data/en-de/0.parquet", "data/en-de/1.parquet"]
    assert b'load_dataset("owner/name"' in folder.read("README.md")


class Locked(BaseHTTPRequestHandler):
    """A hub that knows nobody."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_export_says_when_the_hub_refuses_or_does_not_answer(
    export: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = HTTPServer(("127.0.0.1", 0), Locked)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    with pytest.raises(ConfigError, match="push_to owner/name: the hub refuses; `hf auth login`"):
        export(push_to="owner/name")
    server.shutdown()
    server.server_close()
    with pytest.raises(TransientError, match="push_to owner/name: the hub does not answer"):
        export(push_to="owner/name")


def test_export_refuses_what_it_cannot_do(pseudo: Folder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='only format "datasets" is uploaded'):
        ExportConfig(pseudo="a", output="b", format="conll", push_to="owner/name")
    for unused in ({"pairs": "c"}, {"license": "mit"}):
        with pytest.raises(ValueError, match='only format "datasets" has a card, not "spacy"'):
            ExportConfig(pseudo="a", output="b", format="spacy", **unused)
    for name in ("owner/na--me", "owner/-x", "öwner/x"):
        with pytest.raises(ConfigError, match="push_to: "):
            job["plan"](ExportConfig(pseudo=str(pseudo), output="b", push_to=name))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no shards"):
        job["plan"](ExportConfig(pseudo=str(tmp_path / "empty"), output="b"))


def test_export_refuses_shards_whose_tags_another_run_numbered_otherwise(
    pseudo: Folder, tmp_path: Path
) -> None:
    both, table = Folder.at(str(tmp_path / "both")), pseudo.read_table("en-de/0.parquet")
    for name, labels in (("en-de", ["PER", "LOC", "ORG"]), ("en-es", ["LOC", "PER", "ORG"])):
        run = Run(both / name, "project_corpus", {})
        run.open()
        run.commit("0.parquet", schema.with_tag_names(table, tags_of(labels)), Statistics.of(table))
    config = {"pseudo": str(both), "output": str(tmp_path / "export"), "format": "conll"}
    with pytest.raises(DataError, match=r"en-es/0\.parquet: its tags are numbered as O, B-LOC"):
        job["main"](ExportConfig.model_validate(config))
