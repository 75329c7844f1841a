"""The job on shards of the miniature world and, where it is there, on real text."""

from __future__ import annotations

import logging
import runpy
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xner.config import LinksConfig, TaggedSourceConfig, TrainWordAlignerConfig
from xner.errors import ConfigError
from xner.evaluation.projection_gold import read_gold
from xner.models.hmm import WordAlignerSettings, content_hash, languages_of, train
from xner.models.word_links import word_linker
from xner.shards.storage import Folder
from xner.text.pairs import SentencePair
from xner.text.words import segment, words_in
from xner.training.word_aligner import train_word_aligner

JOB = runpy.run_path(str(Path(__file__).parents[2] / "jobs" / "train_word_aligner.py"))
main, plan = JOB["main"], JOB["plan"]


def config(pairs: list[Path], output: Path, **settings: object) -> TrainWordAlignerConfig:
    return TrainWordAlignerConfig.model_validate(
        {"pairs": list(map(str, pairs)), "output": str(output), **settings}
    )


def test_train_word_aligner_whatever_the_order_of_the_shards(
    pairs: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, "xner")
    shards = sorted((pairs / "en-de").glob("*.parquet"))
    folders = []
    for name, given in (("folder", [pairs / "en-de"]), ("files", shards[::-1])):
        main(config(given, tmp_path / name, max_pairs=250))
        folders.append(Folder.at(str(tmp_path / name)))
    assert content_hash(folders[0]) == content_hash(folders[1])
    assert languages_of(folders[0]) == ("en", "de")
    summary = folders[0].read_json("summary.json")
    assert summary["pairs"] == 250
    assert [each["round"] for each in summary["rounds"]] == [1, 2, 3, 4, 1, 2, 3]
    assert summary["rounds"][-1]["target words linked"] > 0.5
    assert "word pairs kept" in capsys.readouterr().out
    (matrix,) = word_linker(LinksConfig(model=str(tmp_path / "folder"))).links(
        [SentencePair("in Berlin", segment("in Berlin"), "in Berlin", segment("in Berlin"))]
    )
    assert matrix.argmax(axis=1).tolist() == [0, 1]


def test_train_word_aligner_goes_on_and_refuses_other_settings(pairs: Path, tmp_path: Path) -> None:
    output = tmp_path / "words"
    settings = config([pairs / "en-de"], output, max_pairs=100)
    assert "to be trained" in plan(settings)["output"]
    main(settings)
    made = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    main(settings)
    assert made == {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    # A run that died before its end left no settings.
    (output / "word_aligner.json").unlink()
    main(settings)
    assert "stands here" in plan(settings)["output"]
    for other in ({"rounds": 2}, {"seed": 1}, {"max_pairs": 99}):
        with pytest.raises(ConfigError, match="belongs to another run"):
            main(settings.model_copy(update=other))


def test_train_word_aligner_refuses_several_language_pairs(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is en-zh, others are en-de; train one word aligner"):
        main(config([pairs], tmp_path / "words"))
    assert not (tmp_path / "words").exists()


def test_train_word_aligner_holds_no_more_pairs_as_more_are_read(tmp_path: Path) -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    for shard in range(8):
        texts = [f"{words[number % 10]} {shard} {number}" for number in range(5000)]
        columns = {name: texts for name in ("pair_id", "source", "target")}
        langs = {"source_lang": ["en"] * len(texts), "target_lang": ["de"] * len(texts)}
        pq.write_table(pa.table({**columns, **langs}), tmp_path / f"{shard}.parquet")
    held: list[int] = []
    tracemalloc.start()
    try:
        train_word_aligner(
            config([tmp_path], tmp_path / "words", max_pairs=500),
            lambda num_pairs: held.append(tracemalloc.get_traced_memory()[0]),
        )
    finally:
        tracemalloc.stop()
    # All 40,000 pairs are some 10 MB.
    assert held[-1] - held[0] < 1_000_000


def test_train_word_aligner_links_real_text(shared_data: Path, tmp_path: Path) -> None:
    """Twenty thousand everyday sentences, then names in the European Parliament."""
    with zipfile.ZipFile(shared_data / "opus/OPUS-Tatoeba/manythings/moses/de-en.txt.zip") as file:
        sides = [
            file.read(f"Tatoeba.de-en.{lang}").decode().split("\n")[:160_000:8]
            for lang in ("en", "de")
        ]
    training = train(list(zip(*sides, strict=True)), ("en", "de"), WordAlignerSettings())
    assert training.num_pairs + training.num_empty == 20_000
    training.aligner.save(Folder.at(str(tmp_path)))
    gold = read_gold(
        *(
            TaggedSourceConfig(
                path=str(shared_data / f"projection_gold/{lang}-europarl.test.conll02"),
                token_column=0,
                tag_column=1,
                lang=lang,
            )
            for lang in ("en", "de")
        )
    )
    pairs = [
        SentencePair(each.source, segment(each.source), each.target, segment(each.target))
        for each in gold
    ]
    placed = total = 0
    links = word_linker(LinksConfig(model=str(tmp_path))).links(pairs)
    for each, pair, matrix in zip(gold, pairs, links, strict=True):
        targets = set()
        for mention in each.target_mentions:
            targets.update(words_in(mention.start, mention.end, pair.target_words))
        for mention in each.source_mentions:
            for word in words_in(mention.start, mention.end, pair.source_words):
                total += 1
                placed += int(matrix[word].argmax()) in targets
    assert total > 700
    assert placed / total > 0.84
