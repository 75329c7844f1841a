"""The main job on real files, real Ray and real kills, with models that are small and untrained."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
import tomli_w

from xner.config import AlignerConfig, EvidenceConfig, LinksConfig, PoolConfig, ProjectConfig
from xner.engine.recipes import CorpusProjection
from xner.errors import ConfigError
from xner.models import eflomal
from xner.models.hmm import WordAlignerSettings, train
from xner.projection.evidence import EVIDENCE
from xner.shards import schema
from xner.shards.ledger import statistics_of
from xner.shards.storage import Folder

Made = Callable[..., ProjectConfig]

PROJECT = Path(__file__).resolve().parents[2]


def run_inline(config: ProjectConfig) -> list[str]:
    """Run what is pending; the names of the shards that were computed."""
    projection = CorpusProjection.plan(config)
    projection.run.open()
    return [result.name for result in projection.run_pending()]


@pytest.fixture(scope="module")
def projected(project_config: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the default settings make of the pairs; copied by whoever changes it."""
    output = tmp_path_factory.mktemp("projected")
    run_inline(project_config(output))
    return output


def shards(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.parquet")}


def rows(folder: Path) -> pa.Table:
    where = Folder.at(str(folder))
    return pa.concat_tables(
        [where.read_table(name, schema.PSEUDO) for name in where.names(".parquet")]
    )


def test_project_corpus_conserves_rows_and_counts_them(pairs: Path, projected: Path) -> None:
    given, made = Folder.at(str(pairs)), Folder.at(str(projected))
    assert made.names(".parquet") == given.names(".parquet") != []
    for name in given.names(".parquet"):
        before, after = given.read_table(name, schema.PAIRS), made.read_table(name, schema.PSEUDO)
        assert after.select(schema.PAIRS.names).equals(before)
        statistics = statistics_of(made, name)
        assert statistics.rows == before.num_rows == sum(statistics.status.values())
    table = rows(projected).to_pylist()
    assert {row["status"] for row in table} == {"ok", "filtered"}
    for row in table:
        assert (row["status"] == "ok") == (row["reason"] is None)
        assert row["tokens"] and all(token in row["target"] for token in row["tokens"])
        assert len(row["tokens"]) == len(row["ner_tags"])
        for mention in row["mentions"]:
            # A projected label is explained by a source mention of the same type.
            source = row["source_mentions"][mention["source_index"]]
            assert (source["label"], source["score"]) == (mention["label"], mention["score"])
    assert sum(len(row["mentions"]) for row in table) > 100


def test_project_corpus_shards_open_in_the_field_s_own_form(
    projected: Path, tmp_path: Path
) -> None:
    files = sorted(map(str, projected.rglob("*.parquet")))
    loaded = datasets.Dataset.from_parquet(files, cache_dir=str(tmp_path))
    names = loaded.features["ner_tags"].feature.names
    assert names[:3] == ["O", "B-PER", "I-PER"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_project_corpus_engines_give_the_same_shards(
    project_config: Made, pairs: Path, word_aligner: Path, tmp_path: Path, local_ray: None
) -> None:
    for engine in ("inline", "ray"):
        made = project_config(tmp_path / engine, engine={"kind": engine})
        run_inline(on_german(made, pairs, model=str(word_aligner)))
    first, second = rows(tmp_path / "inline"), rows(tmp_path / "ray")
    assert first.equals(second)
    methods = {each["method"] for row in first["alignments"].to_pylist() for each in row}
    assert methods == {EVIDENCE}


def on_german(made: ProjectConfig, pairs: Path, **links: object) -> ProjectConfig:
    """The same job on the German pairs alone, with word links besides."""
    aligner = made.aligner.model_copy(update={"links": LinksConfig.model_validate(links)})
    return made.model_copy(update={"aligner": aligner, "pairs": str(pairs / "en-de")})


def test_project_corpus_is_another_run_with_other_links(
    project_config: Made,
    pairs: Path,
    word_aligner: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(eflomal, "find_program", lambda: tmp_path)

    def fingerprint(place: Path | None = word_aligner, **changes: object) -> object:
        made = on_german(project_config(tmp_path / "out"), pairs, model=place and str(place))
        links = made.aligner.links.model_copy(
            update={key: changes.pop(key) for key in {"adapt", "kind"} & changes.keys()}
        )
        aligner = made.aligner.model_copy(update={"links": links, **changes})
        return CorpusProjection.plan(made.model_copy(update={"aligner": aligner})).run.fingerprint

    before = fingerprint()
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(word_aligner, moved)
    assert fingerprint(moved) == before
    # A file that decides nothing.
    (moved / "summary.json").write_text("{}")
    assert fingerprint(moved, pool=PoolConfig(max_size=2)) == before

    train([("a b", "c d")], ("en", "de"), WordAlignerSettings()).aligner.save(Folder.at(str(other)))
    found = [
        before,
        fingerprint(other),
        fingerprint(None),
        fingerprint(None, kind="eflomal"),
        fingerprint(adapt=False),
        fingerprint(evidence=EvidenceConfig(links=19)),
        fingerprint(exact_match=True),
        fingerprint(max_candidates=2),
        fingerprint(model=None),
        CorpusProjection.plan(
            project_config(tmp_path / "out", pairs=str(pairs / "en-de"))
        ).run.fingerprint,
    ]
    assert all(one != two for one, two in combinations(found, 2))


def test_project_corpus_aligns_by_word_links_alone(
    project_config: Made, pairs: Path, word_aligner: Path, tmp_path: Path
) -> None:
    made = on_german(project_config(tmp_path / "out"), pairs, model=str(word_aligner))
    run_inline(made.model_copy(update={"aligner": AlignerConfig(links=made.aligner.links)}))
    given, found = Folder.at(str(pairs / "en-de")), rows(tmp_path / "out")
    assert found.num_rows == sum(
        given.read_table(name, schema.PAIRS).num_rows for name in given.names(".parquet")
    )
    methods = {each["method"] for row in found["alignments"].to_pylist() for each in row}
    assert methods == {EVIDENCE}


def test_project_corpus_refuses_what_is_no_word_aligner_for_its_pairs(
    project_config: Made, pairs: Path, models: Path, word_aligner: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"no word_aligner\.json, so this is not a word aligner"):
        CorpusProjection.plan(
            on_german(project_config(tmp_path / "out"), pairs, model=str(models / "packed"))
        )
    links = {"links": {"model": str(word_aligner)}}
    for where, found in ((pairs, "en-de, en-zh"), (pairs / "en-zh", "en-zh")):
        with pytest.raises(ConfigError, match=f"for en-de, but the pairs are {found};"):
            CorpusProjection.plan(project_config(tmp_path / "out", pairs=str(where), aligner=links))


def test_project_corpus_tells_of_a_missing_eflomal_at_once(
    project_config: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eflomal.importlib.metadata, "files", lambda name: [])
    made = project_config(tmp_path / "out", aligner={"links": {"kind": "eflomal"}})
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[eflomal\]'"):
        CorpusProjection.plan(made)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["packed", "single"])
def test_project_corpus_batch_size_changes_no_mention(
    project_config: Made, models: Path, pairs: Path, tmp_path: Path, layout: str
) -> None:
    spans = []
    for batch_tokens in (1, 64 * 64):
        output = tmp_path / str(batch_tokens)
        config = project_config(output)
        teacher = config.teacher.model_copy(update={"batch_tokens": batch_tokens})
        aligner = config.aligner.model_copy(
            update={"batch_tokens": batch_tokens, "model": str(models / layout)}
        )
        one = Folder.at(str(pairs)).names(".parquet")[0]
        few = tmp_path / f"pairs-{batch_tokens}"
        few.mkdir()
        (few / "0.parquet").write_bytes((pairs / one).read_bytes())
        run_inline(
            config.model_copy(update={"teacher": teacher, "aligner": aligner, "pairs": str(few)})
        )
        spans.append(
            [
                [(m["start"], m["end"], m["label"]) for m in row["mentions"]]
                for row in rows(output).to_pylist()
            ]
        )
    assert spans[0] == spans[1]
    assert any(spans[0])


def test_project_corpus_goes_on_where_it_was(
    project_config: Made, projected: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(projected, output)
    before = shards(output)
    gone = sorted(before)[1:4]
    for name in gone:
        (output / name).unlink()
    assert run_inline(project_config(output)) == gone
    assert shards(output) == before
    assert run_inline(project_config(output)) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quality": {"max_unplaced": 1}}, "quality.max_unplaced: there 6, now 1"),
        ({"aligner": {"model": "SINGLE"}}, "aligner.content: there"),
        ({"quality": {"labels": ["DRUG"]}}, "quality.labels: DRUG unknown to the teacher"),
        ({"aligner": {"model": "TEACHER"}}, "no aligner.json, so this is not an aligner"),
        ({"teacher": {"model": "/nowhere"}}, "/nowhere: no such folder"),
        ({"teacher": {"model": "EMPTY"}}, "no config.json"),
        ({"pairs": "EMPTY"}, "no shards"),
    ],
)
def test_project_corpus_refuses_what_cannot_be(
    project_config: Made,
    models: Path,
    tmp_path: Path,
    settings: dict[str, dict[str, object]],
    message: str,
) -> None:
    places = {
        "SINGLE": models / "single",
        "TEACHER": models / "teacher",
        "EMPTY": tmp_path / "empty",
    }
    places["EMPTY"].mkdir()

    def placed(value: object) -> object:
        if isinstance(value, dict):
            return {key: placed(each) for key, each in value.items()}
        return str(places.get(str(value), value)) if isinstance(value, str) else value

    CorpusProjection.plan(project_config(tmp_path / "out")).run.open()
    with pytest.raises(ConfigError) as refusal:
        run_inline(project_config(tmp_path / "out", **{k: placed(v) for k, v in settings.items()}))
    assert message in str(refusal.value)


@pytest.mark.parametrize("of", ["", "en-zh"], ids=["all", "one language pair"])
def test_project_corpus_refuses_pairs_of_an_unfinished_preparation(
    project_config: Made, pairs: Path, tmp_path: Path, of: str
) -> None:
    there = tmp_path / "pairs"
    shutil.copytree(pairs, there)
    (there / "en-zh" / "summary.json").unlink()
    if not of:
        # Killed before the language was begun.
        for shard in (there / "en-zh").glob("*.parquet"):
            shard.unlink()
    with pytest.raises(ConfigError, match=r"en-zh: its preparation is not finished"):
        CorpusProjection.plan(project_config(tmp_path / "out", pairs=str(there / of)))
    CorpusProjection.plan(project_config(tmp_path / "out", pairs=str(there / "en-de")))
    # Pairs that prepare_corpus did not write are whole as they are.
    alone = project_config(tmp_path / "out", pairs=str(there / "en-zh"))
    shutil.copytree(pairs / "en-zh", there / "en-zh", dirs_exist_ok=True)
    (there / "en-zh" / "summary.json").unlink()
    for record in ('{"job": "train_tagger", "fingerprint": "x"}', "not ours"):
        (there / "run.json").write_text(record)
        assert CorpusProjection.plan(alone).run.fingerprint["pairs"] == str(there / "en-zh")
    (there / "run.json").unlink()
    assert CorpusProjection.plan(alone).run.fingerprint["pairs"] == str(there / "en-zh")


@pytest.mark.parametrize("of", ["", "en-de"], ids=["all", "one language pair"])
def test_project_corpus_takes_the_shards_of_a_projection_for_pairs(
    project_config: Made, pairs: Path, tmp_path: Path, of: str
) -> None:
    there = tmp_path / "pseudo"
    shutil.copytree(pairs, there, ignore=shutil.ignore_patterns("summary.json"))
    record = {"job": "project_corpus", "fingerprint": "F"}
    (there / "run.json").write_text(json.dumps(record))
    projection = CorpusProjection.plan(project_config(tmp_path / "out", pairs=str(there / of)))
    assert projection.run.fingerprint["pairs"] == ("F/en-de" if of else "F")


def test_project_corpus_is_another_run_with_pairs_prepared_anew(
    project_config: Made, pairs: Path, tmp_path: Path
) -> None:
    def fingerprint(where: Path) -> object:
        made = project_config(tmp_path / "out", pairs=str(where))
        return CorpusProjection.plan(made).run.fingerprint

    there = tmp_path / "pairs"
    shutil.copytree(pairs, there)
    before = fingerprint(there / "en-de")
    # The same pairs in another place, but no other pairs.
    assert before == fingerprint(pairs / "en-de")
    assert before not in (fingerprint(there), fingerprint(there / "en-zh"))
    record = json.loads((there / "run.json").read_text())
    (there / "run.json").write_text(json.dumps({**record, "fingerprint": "of another seed"}))
    assert before != fingerprint(there / "en-de")


@pytest.mark.parametrize("output", [".", "pseudo", "en-de/pseudo", ".."])
def test_project_corpus_refuses_an_output_among_its_inputs(
    project_config: Made, pairs: Path, output: str
) -> None:
    with pytest.raises(ConfigError, match=r"^output .*: is, holds or lies in pairs .*pairs, so"):
        CorpusProjection.plan(project_config(pairs / output))


def test_project_corpus_pins_a_hub_model_to_its_commit(
    project_config: Made, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "snapshots" / "0123abc"
    shutil.copytree(models / "teacher", snapshot)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    config = project_config(tmp_path / "out", teacher={"model": "someone/teacher"})
    found = CorpusProjection.plan(config).config.teacher
    # Other nodes download it themselves: the driver's folder would mean nothing to them.
    assert (found.model, found.revision) == ("someone/teacher", "0123abc")


def test_project_corpus_is_planned_without_loading_what_computes(
    project_config: Made, tmp_path: Path
) -> None:
    recipe = write_recipe(project_config(tmp_path / "out"), tmp_path)
    script = f"""
import runpy, sys
sys.argv = ["project_corpus", {recipe!r}, "--dry-run"]
try:
    runpy.run_path("jobs/project_corpus.py", run_name="__main__")
finally:
    assert {{"ray", "torch", "transformers"}}.isdisjoint(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "shards pending" in done.stdout


def test_project_corpus_reports_broken_and_empty_shards(
    project_config: Made, pairs: Path, tmp_path: Path
) -> None:
    some = tmp_path / "pairs"
    some.mkdir()
    good = Folder.at(str(pairs)).names(".parquet")[0]
    (some / "good.parquet").write_bytes((pairs / good).read_bytes())
    (some / "torn.parquet").write_bytes((pairs / good).read_bytes()[:-30])
    Folder.at(str(some)).publish_table("empty.parquet", schema.PAIRS.empty_table())
    recipe = write_recipe(project_config(tmp_path / "out", pairs=str(some)), tmp_path)
    done = run_job(recipe)
    assert done.returncode == 3, done.stderr
    assert "error: 1 shards have no output" in done.stderr and "torn.parquet" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(shards(tmp_path / "out")) == ["empty.parquet", "good.parquet"]

    (some / "torn.parquet").unlink()
    again = run_job(recipe)
    assert again.returncode == 0, again.stderr
    assert "nothing to do, all 2 shards are there" in again.stdout


def run_job(recipe: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "jobs/project_corpus.py", recipe],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )


def write_recipe(config: ProjectConfig, folder: Path) -> str:
    path = folder / f"{Path(config.output).name}.toml"
    path.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))
    return str(path)


def start(recipe: str, log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "jobs/project_corpus.py", recipe],
        cwd=PROJECT,
        stdout=log.open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_project_corpus_survives_kill_9_and_termination_of_the_driver(
    project_config: Made, projected: Path, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    log = tmp_path / "log"
    engine = {"kind": "ray", "num_cpus": 2}
    # Both models in one actor, as they are where nothing is said: half as many processes to start.
    config = project_config(killed, engine=engine)
    aligner = config.aligner.model_copy(update={"pool": None})
    recipe = write_recipe(config.model_copy(update={"aligner": aligner}), tmp_path)
    seed = 0
    print(f"moments of the kills drawn with seed {seed}")
    moment = random.Random(seed)
    committed: dict[str, int] = {}
    for number in (signal.SIGKILL, signal.SIGTERM):
        job = start(recipe, log)
        # Of sixteen shards six at most: how many more are done until the kill, the machine decides.
        goal = len(committed) + moment.randint(number == signal.SIGTERM, 3)
        while len(list(killed.rglob("[!_]*.parquet"))) < goal and job.poll() is None:
            time.sleep(0.02)
        time.sleep(moment.random() * 0.1)
        job.send_signal(number)
        if number == signal.SIGTERM:
            assert job.wait(60) == 128 + signal.SIGTERM, log.read_text()
            said = re.search(r"stopped with (\d+) of (\d+) shards committed", log.read_text())
            assert said, log.read_text()
            assert len(committed) <= int(said[1]) < int(said[2]) == len(shards(projected))
        job.wait()
        # Committed shards stay as they are, to the last moment of the dead run's workers. What one
        # was writing when it was killed has a name that begins with `_`.
        time.sleep(2)
        for path in killed.rglob("[!_]*.parquet"):
            name = str(path)
            written = path.stat().st_mtime_ns
            assert committed.setdefault(name, written) == written, f"{name} was computed twice"
    assert len(committed) < len(shards(projected)), "the kills came too late to show anything"
    assert start(recipe, log).wait() == 0, log.read_text()

    assert shards(killed) == shards(projected)
    for name, written in committed.items():
        assert os.stat(name).st_mtime_ns == written, f"{name} was computed twice"
    assert [path for path in killed.rglob("_tmp*")] == []
    # Of Ray's processes, only what they have to say comes on the console.
    assert not re.search(r"^\(.*Set ray log level", log.read_text(), re.MULTILINE)
