from __future__ import annotations

import bz2
import json
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xner.config import BuildAlignmentSetConfig, WikipediaConfig
from xner.corpora import miniature
from xner.errors import ConfigError, DataError
from xner.models import eflomal, hmm
from xner.shards.schema import ALIGNMENT_EXAMPLES, PAIRS
from xner.shards.storage import Folder

JOB = Path(__file__).parents[3] / "jobs" / "build_alignment_set.py"
job = runpy.run_path(str(JOB))
main, plan = job["main"], job["plan"]

PAIRS_OF = {
    "de": [
        ("We met Obama in Germany.", "Wir trafen Obama in Deutschland."),
        ("He slept.", "Er schlief."),
        ("They left Hamburg in May.", "Sie verließen Hamburg im Mai."),
    ],
    "zh": [("from Germany", "从德国")],
}
TABLE = "name_en,name_de,name_zh\nGermany,Deutschland,德国\nSpain,Spanien,西班牙\n"


def _write_shards(
    folder: Path,
    rows_per_shard: int,
    pairs_of: Mapping[str, Sequence[tuple[str, str]]] = PAIRS_OF,
) -> list[str]:
    folders = []
    for lang, pairs in pairs_of.items():
        (folder / f"en-{lang}").mkdir(parents=True)
        folders.append(str(folder / f"en-{lang}"))
        rows = [
            {"pair_id": source, "corpus": "C", "source_lang": "en", "target_lang": lang}
            | {"source": source, "target": target}
            for source, target in pairs
        ]
        for start in range(0, len(rows), rows_per_shard):
            table = pa.Table.from_pylist(rows[start : start + rows_per_shard], schema=PAIRS)
            pq.write_table(table, folder / f"en-{lang}" / f"part-{start}.parquet")
    return folders


def _build(tmp_path: Path, rows_per_shard: int) -> dict[str, pa.Table]:
    (tmp_path / "names.csv").write_text(TABLE)
    output = tmp_path / f"out-{rows_per_shard}"
    main(
        BuildAlignmentSetConfig(
            pairs=_write_shards(tmp_path / f"pairs-{rows_per_shard}", rows_per_shard),
            tables=[str(tmp_path / "names.csv")],
            carriers=4,
            output=str(output),
        )
    )
    return {lang: pq.read_table(output / f"part-{lang}.parquet") for lang in PAIRS_OF}


def test_build_alignment_set_writes_examples_and_their_counts(tmp_path: Path):
    tables = _build(tmp_path, rows_per_shard=2)
    examples = tables["de"].to_pylist() + tables["zh"].to_pylist()
    assert all(table.schema.equals(ALIGNMENT_EXAMPLES) for table in tables.values())
    for example in examples:
        for places in example["spans"]:
            assert len({example["text"][p["start"] : p["end"]] for p in places}) == 1
    assert {e["text"]: e["origin"] for e in examples} == {
        "Wir trafen Obama in Deutschland.": "table",
        "Wir trafen Obama in Spanien.": "carrier",
        "Sie verließen Hamburg im Mai.": "verbatim",
        "从德国": "table",
        "从西班牙": "carrier",
    }
    summary = json.loads((tmp_path / "out-2" / "summary.json").read_text())["languages"]
    assert summary["de"] == {
        **{"pairs": 3, "examples": 3, "names": 5},
        **{"verbatim": 1, "table": 1, "bitext": 0, "carrier": 1, "anchor": 0},
    }


def test_build_alignment_set_does_not_depend_on_how_shards_are_cut(tmp_path: Path):
    assert _build(tmp_path, rows_per_shard=1) == _build(tmp_path, rows_per_shard=3)


def test_build_alignment_set_without_shards_says_so(tmp_path: Path):
    config = BuildAlignmentSetConfig(pairs=[str(tmp_path)], output=str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="no shards"):
        main(config)


def test_build_alignment_set_reads_no_pair_for_what_it_cannot_write(
    tmp_path: Path, read_only: None
):
    folders = _write_shards(tmp_path / "pairs", 3)
    (Path(folders[0]) / "part-0.parquet").write_bytes(b"no Parquet")
    with pytest.raises(ConfigError, match="no permission"):
        main(BuildAlignmentSetConfig(pairs=folders, output=str(tmp_path / "out")))


def test_build_alignment_set_does_not_write_into_folders_of_others(tmp_path: Path):
    pairs = _write_shards(tmp_path / "pairs", 2)
    for output in (pairs[0], str(tmp_path / "pairs"), f"{pairs[0]}/examples"):
        config = BuildAlignmentSetConfig(pairs=pairs, output=output)
        for run in (main, plan):
            with pytest.raises(ConfigError, match=f"output {output}: is, holds or lies in pairs"):
                run(config)
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text('{"job": "project_corpus"}')
    with pytest.raises(ConfigError, match="other: belongs to a run of project_corpus; choose"):
        main(BuildAlignmentSetConfig(pairs=pairs, output=str(other)))
    assert [path.name for path in other.iterdir()] == ["run.json"]


def test_build_alignment_set_finds_names_by_word_links(tmp_path: Path):
    sentences = list(miniature.sentences("train", 300))
    # So few sentences teach little of where Chinese words end.
    langs = {"de": 0.9, "zh": 0.65}
    folders = _write_shards(
        tmp_path / "pairs",
        150,
        {lang: [(each.texts["en"], each.texts[lang]) for each in sentences] for lang in langs},
    )
    outputs = {"without": {}, "with": {"bitext": {"min_score": 0.8}}}
    summaries = {}
    for name, settings in outputs.items():
        main(BuildAlignmentSetConfig(pairs=folders, output=str(tmp_path / name), **settings))
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        summaries[name] = summary["languages"]
    for lang, least in langs.items():
        before, after = (summaries[name][lang] for name in outputs)
        assert before["bitext"] == 0 < after["bitext"]
        assert after["examples"] == before["examples"] + after["bitext"]
        rows = pq.read_table(tmp_path / "with" / f"part-{lang}.parquet").to_pylist()
        assert len(rows) == after["examples"]
        gold = {
            (each.texts[lang], each.texts["en"][mention.start : mention.end]): (
                None if link is None else each.mentions[lang][link]
            )
            for each in sentences
            for mention, link in zip(each.mentions["en"], each.links[lang], strict=True)
        }
        right = [
            place == {"start": counterpart.start, "end": counterpart.end}
            for row in rows
            if row["origin"] == "bitext"
            for name, (place,) in zip(row["names"], row["spans"], strict=True)
            for counterpart in [gold.get((row["text"], name))]
            if counterpart is not None
        ]
        assert len(right) > 100
        assert sum(right) / len(right) > least


def test_build_alignment_set_tells_of_wrong_word_links_before_it_reads_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    german, chinese = _write_shards(tmp_path / "pairs", 3)
    words = tmp_path / "words"
    texts = PAIRS_OF["de"]
    hmm.train(texts, ("en", "de"), hmm.WordAlignerSettings()).aligner.save(Folder.at(str(words)))

    def config(pairs: str, **links: object) -> BuildAlignmentSetConfig:
        settings = {"pairs": [pairs], "bitext": {"links": links}, "output": str(tmp_path / "out")}
        return BuildAlignmentSetConfig.model_validate(settings)

    assert plan(config(german, model=str(words)))["shards"] == "1"
    monkeypatch.setattr(job["main"].__globals__["Casing"], "of", None)
    monkeypatch.setattr(eflomal.importlib.metadata, "files", lambda name: [])
    for wrong, message in (
        (config(german, model=str(tmp_path)), r"no word_aligner\.json"),
        (config(chinese, model=str(words)), "for en-de, but the pairs are en-zh"),
        (config(german, kind="eflomal"), r"pip install -e '\.\[eflomal\]'"),
    ):
        for step in (main, plan):
            with pytest.raises(ConfigError, match=message):
                step(wrong)


def _write_wikipedia(folder: Path) -> dict[str, object]:
    """A wiki of two streams, and what knows its English titles."""
    text = "Er war in [[Spanien]], dann in der [[BRD]], dann im Norden von Spanien."
    pages = [
        ("Norden", f"<revision><text>{text}</text></revision>"),
        ("BRD", '<redirect title="Deutschland"/><revision><text/></revision>'),
        ("Deutschland", "<revision><text>[[en:Germany]]</text></revision>"),
    ]
    streams = [f"<page><title>{title}</title><ns>0</ns>{rest}</page>" for title, rest in pages]
    dump = folder / "dump.xml.bz2"
    dump.write_bytes(
        b"".join(bz2.compress(s.encode()) for s in ["<mediawiki>", *streams, "</mediawiki>"])
    )
    entity = {
        "labels": {"en": {"value": "Spain"}},
        "sitelinks": {"dewiki": {"title": "Spanien"}, "enwiki": {"title": "Spain"}},
    }
    (folder / "wikidata.json").write_text(json.dumps(entity) + "\n")
    return {
        "lang": "de",
        "dumps": [str(dump)],
        "wikidata": [str(folder / "wikidata.json")],
    }


def test_build_alignment_set_reads_a_wikipedia_without_pairs(tmp_path: Path):
    config = BuildAlignmentSetConfig(
        wikipedia=[_write_wikipedia(tmp_path)],
        output=str(tmp_path / "out"),
        engine={"kind": "inline"},
    )
    main(config)
    (example,) = pq.read_table(tmp_path / "out" / "part-de.parquet").to_pylist()
    text = example["text"]
    assert text == "Er war in Spanien, dann in der BRD, dann im Norden von Spanien."
    assert dict(zip(example["names"], example["spans"], strict=True)) == {
        "Spain": [{"start": 10, "end": 17}, {"start": 55, "end": 62}],
    }
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["languages"]["de"]["anchor"] == 1
    (counts,) = summary["wikipedia"].values()
    assert (counts["pages"], counts["redirects"], counts["anchors"]) == (3, 1, 3)
    # Of Germany nothing shows that it has a capital elsewhere too.
    assert (counts["resolved"], counts["refused"]) == (1, {"namespace": 1, "unknown_case": 1})


def test_build_alignment_set_pairs_tell_the_capitals_of_titles(tmp_path: Path):
    config = BuildAlignmentSetConfig(
        pairs=_write_shards(tmp_path / "pairs", 2),
        wikipedia=[_write_wikipedia(tmp_path)],
        output=str(tmp_path / "out"),
        engine={"kind": "inline"},
    )
    main(config)
    rows = pq.read_table(tmp_path / "out" / "part-de.parquet").to_pylist()
    (example,) = [row for row in rows if row["origin"] == "anchor"]
    assert example["names"] == ["Spain", "Germany"]


def test_build_alignment_set_mixed_up_dumps_are_told(tmp_path: Path):
    wiki = _write_wikipedia(tmp_path)
    other = tmp_path / "wikidata.xml"
    head = "<mediawiki><siteinfo><dbname>wikidatawiki</dbname></siteinfo>"
    other.write_text(head + "</mediawiki>")

    def run(**changes: object) -> None:
        main(
            BuildAlignmentSetConfig(
                wikipedia=[{**wiki, **changes}],
                output=str(tmp_path / "out"),
                engine={"kind": "inline"},
            )
        )

    with pytest.raises(DataError, match="a dump of Wikidata, not of a Wikipedia"):
        run(dumps=[str(other)])
    with pytest.raises(DataError, match=r"dump\.xml\.bz2: holds no entity of Wikidata"):
        run(wikidata=wiki["dumps"])
    with pytest.raises(DataError, match="no title of this wiki has an English one"):
        run(wikidata=[], source_lang="fr")
    with pytest.raises(ConfigError, match=r"wikipedia\[0\]: .*absent: no such file"):
        run(wikidata=[str(tmp_path / "absent")])
    content = Path(wiki["dumps"][0]).read_bytes()
    Path(wiki["dumps"][0]).write_bytes(content[:-20])
    with pytest.raises(DataError, match=r"dump\.xml\.bz2: truncated"):
        run()


def test_build_alignment_set_needs_something_to_read(tmp_path: Path):
    with pytest.raises(ValueError, match="nothing to read"):
        BuildAlignmentSetConfig(output=str(tmp_path))
    with pytest.raises(ValueError, match="only together"):
        WikipediaConfig(lang="de", dumps=["x"], page="y")
