"""The whole of corpus preparation on real archives, on both engines."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from xner.config import PrepareConfig
from xner.engine import preparing
from xner.engine.inline import InlineFlow
from xner.engine.recipes import CorpusPreparation, CorpusSummary
from xner.errors import ConfigError, DataError, TransientError
from xner.shards.ledger import Run
from xner.shards.schema import PAIRS
from xner.shards.storage import Folder

Pairs = list[tuple[str, str]]


def write_moses(root: Path, corpus: str, target_lang: str, pairs: Pairs) -> Path:
    first, second = sorted(["en", target_lang])
    path = root / f"OPUS-{corpus}" / "v1" / "moses" / f"{first}-{second}.txt.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for side, lang in enumerate(["en", target_lang]):
            lines = "".join(f"{pair[side]}\n" for pair in pairs)
            archive.writestr(f"{corpus}.{first}-{second}.{lang}", lines)
    return path


def made_pairs(topic: str, count: int, target: str = "Satz") -> Pairs:
    return [(f"Sentence {topic} {i}.", f"{target} {topic} {i}.") for i in range(count)]


SHARED = made_pairs("shared", 60)
LARGE = [*made_pairs("large", 1500), *SHARED, ("", "leer"), ("same same", "same same")]
SMALL = [*made_pairs("small", 40), *SHARED, *SHARED[:10]]


@pytest.fixture
def opus(tmp_path: Path) -> Path:
    root = tmp_path / "opus"
    write_moses(root, "Large", "de", LARGE)
    write_moses(root, "Small", "de", SMALL)
    write_moses(root, "Large", "es", made_pairs("large", 300, "Frase"))
    return root


def config(root: Path, output: Path, **settings: object) -> PrepareConfig:
    values: dict[str, object] = {
        "target_langs": ["de"],
        "opus": {"root": str(root), "corpora": ["Large/v1", "Small/v1"]},
        "shard_pairs": 400,
        "output": str(output),
        "engine": {"kind": "inline"},
    }
    return PrepareConfig.model_validate({**values, **settings})


def prepare(config: PrepareConfig) -> dict[str, CorpusSummary]:
    preparation = CorpusPreparation.plan(config)
    preparation.run.open()
    preparation.run_pending(lambda count: None)
    return {
        f"{each.corpus} {each.target_lang}": each
        for pair in preparation.language_pairs
        for each in preparation.summary_of(pair) or []
    }


def rows(output: Path) -> pa.Table:
    folder = Folder.at(str(output))
    return pa.concat_tables([folder.read_table(n, PAIRS) for n in folder.names(".parquet")])


def shards(output: Path) -> dict[str, bytes]:
    return {p.relative_to(output).as_posix(): p.read_bytes() for p in output.rglob("*.parquet")}


def test_prepare_corpus_sums_agree(opus: Path, tmp_path: Path) -> None:
    found = prepare(
        config(
            opus,
            tmp_path / "out",
            target_langs=["de", "es"],
            opus={"root": str(opus), "corpora": ["Large/v1", "Small/v1"]},
        )
    )
    large, small, spanish = found["Large de"], found["Small de"], found["Large es"]
    assert large.refused == {"empty": 1, "identical": 1}
    assert (large.read, large.not_sampled, large.written) == (1562, 0, 1560)
    # The pairs that both have belong to the corpus that the recipe names first.
    assert small.refused == {"duplicate": 70}
    assert (small.read, small.not_sampled, small.written) == (110, 0, 40)
    assert (spanish.read, spanish.written) == (300, 300)
    for each in found.values():
        assert each.read == sum(each.refused.values()) + each.not_sampled + each.written
    table = rows(tmp_path / "out")
    assert table.num_rows == 1560 + 40 + 300
    assert len(set(table["pair_id"].to_pylist())) == table.num_rows
    texts = set(zip(table["source"].to_pylist(), table["target"].to_pylist(), strict=True))
    assert texts == {*LARGE[:1560], *SMALL[:40], *made_pairs("large", 300, "Frase")}


def test_prepare_corpus_shards_are_mixtures_of_about_the_size_asked_for(
    opus: Path, tmp_path: Path
) -> None:
    prepare(config(opus, tmp_path / "out"))
    folder = Folder.at(str(tmp_path / "out"))
    names = folder.names(".parquet")
    assert names == [f"en-de/part-{i:05d}-of-00004.parquet" for i in range(4)]
    for name in names:
        table = folder.read_table(name, PAIRS)
        assert 300 < table.num_rows < 500
        assert set(table["corpus"].to_pylist()) == {"Large", "Small"}


def test_prepare_corpus_draws_with_equal_weights(opus: Path, tmp_path: Path) -> None:
    found = prepare(config(opus, tmp_path / "out", sampling={"pairs": 60}))
    assert (found["Large de"].written, found["Small de"].written) == (30, 30)
    # A corpus that is too small gives what it has and the others make up for it.
    found = prepare(config(opus, tmp_path / "more", sampling={"pairs": 500}))
    assert found["Large de"].written + found["Small de"].written == 500
    assert 40 <= found["Small de"].written <= 100
    for each in found.values():
        assert each.read == sum(each.refused.values()) + each.not_sampled + each.written


def test_prepare_corpus_sample_depends_on_seed_and_texts_only(opus: Path, tmp_path: Path) -> None:
    sampling = {"pairs": 200, "seed": 1}
    prepare(config(opus, tmp_path / "one", sampling=sampling))
    random.Random(5).shuffle(shuffled := list(LARGE))
    write_moses(opus, "Large", "de", shuffled)
    prepare(config(opus, tmp_path / "two", sampling=sampling))
    assert shards(tmp_path / "one") == shards(tmp_path / "two") != {}
    prepare(config(opus, tmp_path / "three", sampling={"pairs": 200, "seed": 2}))
    first, third = rows(tmp_path / "one"), rows(tmp_path / "three")
    common = set(first["pair_id"].to_pylist()) & set(third["pair_id"].to_pylist())
    assert len(common) < 100


@pytest.mark.parametrize("sampling", [{}, {"pairs": 150}])
def test_prepare_corpus_is_the_same_on_both_engines(
    opus: Path,
    tmp_path: Path,
    local_ray: None,
    sampling: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A shard is larger than what is read at once.
    monkeypatch.setattr("xner.engine.distributed._READ_BLOCK_BYTES", 8192)
    settings = {"target_langs": ["de", "es"], "sampling": sampling}
    settings["opus"] = {"root": str(opus), "corpora": ["Large/v1", "Small/v1"]}
    inline = prepare(config(opus, tmp_path / "inline", **settings))
    ray = prepare(config(opus, tmp_path / "ray", engine={"kind": "ray"}, **settings))
    for key, each in inline.items():
        assert (each.refused, each.not_sampled, each.written) == (
            ray[key].refused,
            ray[key].not_sampled,
            ray[key].written,
        )
    assert shards(tmp_path / "inline") == shards(tmp_path / "ray") != {}


def test_prepare_corpus_refuses_a_shard_that_comes_twice(
    opus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = InlineFlow.partition

    def halves(flow: InlineFlow, column: str, num_tables: int) -> InlineFlow:
        tables = list(whole(flow, column, num_tables))
        cut = [(each, each.num_rows // 2) for each in tables]
        parts = [part for each, at in cut for part in (each.slice(0, at), each.slice(at))]
        return InlineFlow(lambda: parts)

    monkeypatch.setattr(InlineFlow, "partition", halves)
    with pytest.raises(RuntimeError, match=r"^en-de: shard 0 came twice"):
        prepare(config(opus, tmp_path / "out"))
    assert not (tmp_path / "out" / "en-de" / "summary.json").exists()


def test_prepare_corpus_refuses_a_folder_that_is_another_one_on_the_workers(
    opus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same path on the disk of another machine.
    there = Run(Folder.at(str(tmp_path / "another disk")), "prepare_corpus", {})
    write = preparing.WriteShard
    monkeypatch.setattr(preparing, "WriteShard", lambda run, *cut: write(there, *cut))
    with pytest.raises(ConfigError, match=r"out: en-de/part-0.*parquet was committed, but is not"):
        prepare(config(opus, tmp_path / "out"))
    assert not (tmp_path / "out" / "en-de" / "summary.json").exists()


def test_prepare_corpus_waits_for_a_store_to_say_how_large_an_archive_is(
    opus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sizes_where(error: Exception) -> set[int | None]:
        def ask(*_: object) -> None:
            raise error

        monkeypatch.setattr("xner.engine.recipes.ask", ask)
        planned = CorpusPreparation.plan(config(opus, tmp_path / "out"))
        return set(planned.run.fingerprint["archives"].values())

    assert sizes_where(ConfigError("the request is refused")) == {None}
    assert sizes_where(FileNotFoundError()) == {None}
    # None in the record would make the next try another run.
    with pytest.raises(TransientError, match="busy"):
        sizes_where(TransientError("busy"))


def test_prepare_corpus_goes_on_with_what_is_not_finished(opus: Path, tmp_path: Path) -> None:
    settings = config(opus, tmp_path / "out", target_langs=["de", "es"])
    prepare(settings)
    before = shards(tmp_path / "out")
    (tmp_path / "out" / "en-es" / "summary.json").unlink()
    victim = next(iter((tmp_path / "out" / "en-es").glob("*.parquet")))
    victim.unlink()
    german = sorted((tmp_path / "out" / "en-de").glob("*.parquet"))
    times = [path.stat().st_mtime_ns for path in german]
    prepare(settings)
    assert shards(tmp_path / "out") == before
    assert [path.stat().st_mtime_ns for path in german] == times


def test_prepare_corpus_other_settings_need_another_folder(opus: Path, tmp_path: Path) -> None:
    prepare(config(opus, tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"sampling\.seed: there 0, now 3"):
        prepare(config(opus, tmp_path / "out", sampling={"seed": 3}))


def test_prepare_corpus_other_archives_need_another_folder(opus: Path, tmp_path: Path) -> None:
    prepare(config(opus, tmp_path / "out"))
    write_moses(opus, "Small", "de", SMALL[:-1])
    with pytest.raises(ConfigError, match=r"archives.*OPUS-Small.*: there \d+, now \d+"):
        prepare(config(opus, tmp_path / "out"))


def test_prepare_corpus_names_every_broken_archive_and_writes_nothing(
    opus: Path, tmp_path: Path
) -> None:
    large = write_moses(opus, "Large", "de", LARGE)
    large.write_bytes(large.read_bytes()[:-100])
    small = opus / "OPUS-Small/v1/moses/de-en.txt.zip"
    with zipfile.ZipFile(small, "w") as archive:
        archive.writestr("Small.de-en.en", "one\ntwo\n")
        archive.writestr("Small.de-en.de", "eins\n")
    with pytest.raises(DataError) as refusal:
        prepare(config(opus, tmp_path / "out"))
    message = str(refusal.value)
    assert "2 of 2 archives" in message
    assert str(large) in message and str(small) in message
    assert shards(tmp_path / "out") == {}


def test_prepare_corpus_of_refused_pairs_only(opus: Path, tmp_path: Path) -> None:
    write_moses(opus, "Large", "de", [("", "leer")] * 5)
    settings = config(opus, tmp_path / "out", opus={"root": str(opus), "corpora": ["Large/v1"]})
    found = prepare(settings)
    assert found["Large de"].refused == {"empty": 5}
    assert found["Large de"].written == 0
    assert shards(tmp_path / "out") == {}


def test_prepare_removes_shards_of_a_run_that_died(opus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    CorpusPreparation.plan(config(opus, out)).run.open()
    Folder.at(str(out)).publish("en-de/part-00007-of-00009.parquet", b"of other archives")
    prepare(config(opus, out))
    prepare(config(opus, tmp_path / "undisturbed"))
    assert shards(out) == shards(tmp_path / "undisturbed")


@pytest.mark.parametrize("num_checks", [0, 1, 3])
def test_prepare_stops_where_the_folder_is_no_longer_its_own(
    opus: Path, tmp_path: Path, num_checks: int
) -> None:
    out = tmp_path / "out"
    preparation = CorpusPreparation.plan(config(opus, out))
    preparation.run.open()
    Folder.at(str(out)).publish("en-de/part-00007-of-00009.parquet", b"of whoever holds it now")
    checks = iter(range(num_checks))

    def check() -> None:
        if next(checks, None) is None:
            raise TransientError("taken over")

    with pytest.raises(TransientError, match="taken over"):
        preparation.run_pending(lambda count: None, check)
    # One to remove what stands there, one before the first shard and one after each.
    assert len(shards(out)) == (1 if num_checks == 0 else max(0, num_checks - 1))
    assert preparation.summary_of(("en", "de")) is None
