"""Corpus preparation as pure functions of tables: what is drawn, and that the sums agree."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from xner.config import BitextConfig, PrepareConfig
from xner.corpora.opus import Archive
from xner.engine import preparing
from xner.engine.inline import InlineFlow
from xner.engine.recipes import CorpusPreparation
from xner.errors import ConfigError


def moses(folder: Path, corpus: str, pairs: list[tuple[str, str]]) -> Archive:
    path = folder / f"{corpus}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{corpus}.de-en.en", "".join(f"{s}\n" for s, _ in pairs))
        archive.writestr(f"{corpus}.de-en.de", "".join(f"{t}\n" for _, t in pairs))
    return Archive(corpus, "en", "de", str(path))


def config(folder: Path, **sampling: int) -> PrepareConfig:
    return PrepareConfig(
        target_langs=["de"],
        opus={"corpora": ["x"]},
        sampling=sampling,
        output=str(folder),
    )


def some_pairs(start: int, count: int) -> list[tuple[str, str]]:
    return [(f"This is sentence {i}.", f"Das ist Satz {i}.") for i in range(start, start + count)]


def test_preparing_reader_tells_what_became_of_every_pair(tmp_path: Path) -> None:
    pairs = [*some_pairs(0, 50), ("", "leer"), ("same here", "same here"), ("a\0b", "c")]
    reader = preparing.ReadArchive(config(tmp_path))
    tables = list(reader((3, moses(tmp_path, "One", pairs))))
    (tally,) = preparing.read_tallies(map(preparing.only_tallies, tables)).values()
    assert tally.archive == 3
    assert (tally.read, tally.accepted, tally.bound) == (53, 50, None)
    assert tally.refused == {"empty": 1, "identical": 1, "nul_byte": 1}
    kept = preparing.Within({3: None})(pa.concat_tables(tables))
    assert sorted(kept["source"].to_pylist()) == sorted(source for source, _ in pairs[:50])


def test_preparing_reader_reports_a_broken_archive(tmp_path: Path) -> None:
    archive = moses(tmp_path, "One", some_pairs(0, 3))
    Path(archive.path).write_bytes(Path(archive.path).read_bytes()[:40])
    tables = list(preparing.ReadArchive(config(tmp_path))((0, archive)))
    (tally,) = preparing.read_tallies(map(preparing.only_tallies, tables)).values()
    assert tally.error is not None and archive.path in tally.error


@pytest.mark.parametrize("changed", ["x.en", "x.de"])
def test_preparing_does_not_go_on_with_another_file_of_the_same_name(
    tmp_path: Path, changed: str
) -> None:
    (tmp_path / "x.en").write_text("one\n")
    (tmp_path / "x.de").write_text("eins\n")
    source, target = (str(tmp_path / name) for name in ("x.en", "x.de"))
    bitext = BitextConfig(corpus="X", target_lang="de", path=source, target_path=target)
    settings = PrepareConfig(target_langs=["de"], bitexts=[bitext], output=str(tmp_path / "out"))
    CorpusPreparation.plan(settings).run.open()
    CorpusPreparation.plan(settings).run.check()
    (tmp_path / changed).write_text("another\n")
    with pytest.raises(ConfigError, match=rf"archives.*{changed}"):
        CorpusPreparation.plan(settings).run.check()


def test_preparing_scrambled_is_one_to_one() -> None:
    keys = np.arange(-50_000, 50_000, dtype=np.int64)
    found = preparing.scrambled(keys)
    assert len(np.unique(found)) == len(keys)
    assert abs(np.corrcoef(keys, found)[0, 1]) < 0.02


def candidates(rows: list[tuple[int, int]]) -> pa.Table:
    archives, keys = zip(*rows, strict=True)
    columns = {name: pa.nulls(len(rows), t.type) for name, t in _fields().items()}
    columns["archive"] = pa.array(archives, pa.int16())
    columns["key"] = pa.array(keys, pa.int64())
    columns["position"] = pa.array(preparing.scrambled(np.array(keys, np.int64)))
    return pa.table(columns, schema=preparing.CANDIDATES)


def _fields() -> dict[str, pa.Field]:
    return {field.name: field for field in preparing.CANDIDATES}


def test_preparing_equal_keys_belong_to_the_first_archive() -> None:
    table = candidates([(1, 7), (0, 7), (2, 9), (1, 7), (2, 8)])
    found = preparing.owned(table)
    assert sorted(zip(found["archive"].to_pylist(), found["key"].to_pylist(), strict=True)) == [
        (0, 7),
        (2, 8),
        (2, 9),
    ]
    empty = table.slice(0, 0)
    assert preparing.owned(empty).num_rows == 0


def random_parts(seed: int) -> list[pa.Table]:
    """Candidates of three archives, cut into parts by ranges of position, with duplicates."""
    generator = np.random.default_rng(seed)
    keys = generator.integers(-(2**63), 2**63, 3000, dtype=np.int64)
    keys[:50] = keys[0] // 2**48 * 2**48 + np.arange(50)
    keys = np.concatenate([keys, generator.choice(keys, 500)])
    archives = generator.choice(3, len(keys), p=[0.7, 0.25, 0.05])
    rows = list(zip(archives.tolist(), keys.tolist(), strict=True))
    return list(InlineFlow(lambda: [candidates(rows)]).partition("position", 5))


@pytest.mark.parametrize("quota", [0, 1, 17, 10**9])
def test_preparing_last_keys_cut_exactly_the_quota(quota: int) -> None:
    parts = random_parts(quota)
    owned_keys: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for part in map(preparing.owned, parts):
        for archive, key in zip(part["archive"].to_pylist(), part["key"].to_pylist(), strict=True):
            owned_keys[archive].append(key)
    flow = InlineFlow(lambda: parts)
    distinct, copies = preparing.sum_counts(flow.map(preparing.key_counts), [0, 1, 2])
    assert {a: int(c.sum()) for a, c in distinct.items()} == {
        a: len(keys) for a, keys in owned_keys.items()
    }
    assert sum(int(c.sum()) for c in copies.values()) == sum(part.num_rows for part in parts)
    quota_of = {a: min(quota, len(keys)) for a, keys in owned_keys.items()}
    last = preparing.last_keys(flow, distinct, quota_of)
    drawn: Counter[int] = Counter()
    for table in flow.map(preparing.Draw(last)):
        for archive, key in zip(
            table["archive"].to_pylist(), table["key"].to_pylist(), strict=True
        ):
            drawn[archive] += 1
            assert key in sorted(owned_keys[archive])[: quota_of[archive]]
    assert drawn == Counter({a: n for a, n in quota_of.items() if n})
