from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest

import xner
from xner.errors import ConfigError, DataError
from xner.shards import ledger
from xner.shards.ledger import Run, content_of, record_of, statistics_of, total_statistics
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder


def a_run(folder: Path, **fingerprint: object) -> Run:
    return Run(Folder.at(str(folder)), "project_corpus", fingerprint)


def test_ledger_pending_is_inputs_less_outputs(tmp_path: Path) -> None:
    inputs = Folder.at(str(tmp_path / "in"))
    for name in ("a/1.parquet", "a/2.parquet", "b/1.parquet"):
        inputs.publish(name, b"")
    run = a_run(tmp_path / "out", x=1)
    run.open()
    assert run.pending(inputs) == ["a/1.parquet", "a/2.parquet", "b/1.parquet"]
    run.commit("a/2.parquet", pa.table({"x": [1]}), Statistics(rows=1, status={"ok": 1}))
    assert run.pending(inputs) == ["a/1.parquet", "b/1.parquet"]
    assert run.done() == ["a/2.parquet"]


@pytest.mark.parametrize("job", ["prepare_corpus", "project_corpus", "relabel", "refilter"])
def test_ledger_record_of_one_language_is_that_of_the_run(tmp_path: Path, job: str) -> None:
    whole, language = Folder.at(str(tmp_path)), Folder.at(str(tmp_path / "en-de"))
    language.publish("1.parquet", b"")
    assert record_of(language) == record_of(whole) == {}
    whole.publish_json("run.json", {"job": job, "teacher": "T", "fingerprint": "F"})
    assert record_of(whole) == {"job": job, "teacher": "T", "fingerprint": "F"}
    assert record_of(language) == {"job": job, "teacher": "T", "fingerprint": "F/en-de"}
    for other in ({"job": "train_tagger", "fingerprint": "F"}, ["not ours"]):
        whole.publish_json("run.json", other)
        assert record_of(language) == {}


def test_ledger_no_input_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no shards"):
        a_run(tmp_path / "out").pending(Folder.at(str(tmp_path / "nowhere")))


def test_ledger_same_run_goes_on(tmp_path: Path) -> None:
    first = a_run(tmp_path, teacher={"content": "abc"})
    first.open()
    first.commit("1.parquet", pa.table({"x": [1]}), Statistics())
    record = first.folder.read("run.json")
    again = a_run(tmp_path, teacher={"content": "abc"})
    again.open()
    assert again.done() == ["1.parquet"]
    assert again.folder.read("run.json") == record


def test_ledger_another_version_goes_on_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = a_run(tmp_path, x=1)
    with run.held():
        run.commit("1.parquet", pa.table({"x": [1]}), Statistics())
    began = run.folder.read("run.json")
    with run.held():
        assert caplog.records == []
    monkeypatch.setattr(ledger, "__version__", "9.0")
    with run.held():
        assert run.done() == ["1.parquet"]
    (warning,) = caplog.records
    assert f"begun by xner {xner.__version__}, goes on with xner 9.0" in warning.getMessage()
    # It stays the version of the first shards.
    assert run.folder.read("run.json") == began
    with pytest.raises(ConfigError) as refusal:
        a_run(tmp_path, x=2).open()
    assert str(refusal.value).endswith("What differs:\n  x: there 1, now 2")


def test_ledger_run_of_before_versions_were_noted_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = a_run(tmp_path, x=1)
    run.open()
    record = run.folder.read_record("run.json")
    run.folder.publish_json("run.json", {k: v for k, v in record.items() if k != "xner_version"})
    run.open()
    assert "begun by an older xner" in caplog.text


def test_ledger_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    a_run(tmp_path, teacher={"content": "abc", "precision": "fp32"}, quality={}).open()
    with pytest.raises(ConfigError) as refusal:
        a_run(tmp_path, teacher={"content": "abd", "precision": "fp32"}, quality={}).open()
    assert 'teacher.content: there "abc", now "abd"' in str(refusal.value)
    assert "precision" not in str(refusal.value)


def test_ledger_says_which_of_many_tables_differs(tmp_path: Path) -> None:
    data = [{"path": "a", "lang": "en"}, {"path": "b", "lang": "en"}]
    a_run(tmp_path, settings={"data": data, "langs": ["de"]}).open()
    data = [data[0], {"path": "b", "lang": "de"}]
    with pytest.raises(ConfigError) as refusal:
        a_run(tmp_path, settings={"data": data, "langs": ["es"]}).open()
    assert str(refusal.value).endswith(
        'What differs:\n  settings.data.1.lang: there "en", now "de"\n'
        '  settings.langs: there ["de"], now ["es"]'
    )
    with pytest.raises(ConfigError, match=r"settings\.data\.1: there \{.*, now null"):
        a_run(tmp_path, settings={"data": data[:1], "langs": ["de"]}).open()


def test_ledger_folder_of_strangers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"theirs\.parquet"):
        a_run(tmp_path).open()


def test_ledger_statistics_ride_in_the_footer(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    statistics = Statistics(rows=2, status={"ok": 1, "filtered": 1}, reasons={"mention_free": 1})
    run.commit("1.parquet", pa.table({"x": [1, 2]}), statistics)
    assert statistics_of(run.folder, "1.parquet") == statistics
    run.folder.publish_table("2.parquet", pa.table({"x": [1]}))
    with pytest.raises(DataError, match="no statistics"):
        statistics_of(run.folder, "2.parquet")


def test_ledger_commit_is_deterministic_to_the_byte(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run = a_run(tmp_path / name)
        run.commit("1.parquet", pa.table({"x": [1, 2]}), Statistics(rows=2, status={"ok": 2}))
    assert (tmp_path / "one/1.parquet").read_bytes() == (tmp_path / "two/1.parquet").read_bytes()


def test_ledger_record_holds_no_credentials(tmp_path: Path) -> None:
    def with_password(password: str) -> Run:
        url = f"https://me:{password}@host/opus"
        return a_run(tmp_path, opus={"roots": [url]}, archives={f"{url}/de-en.txt.zip": 1})

    run = with_password("secret")
    run.open()
    assert b"secret" not in run.folder.read("run.json")
    with_password("changed").open()


def test_ledger_statistics_of_another_version_are_a_data_error(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    folder.publish_table("1.parquet", pa.table({"x": [1]}), {"xner.statistics": '{"rows": 1}'})
    with pytest.raises(DataError, match=r"1\.parquet: the statistics in its footer cannot be read"):
        statistics_of(folder, "1.parquet")


def test_ledger_total_reads_footers_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path)
    for number in range(8):
        run.commit(f"{number}.parquet", pa.table({"x": [1]}), Statistics(number, {"ok": number}))
    together = threading.Barrier(8)
    read_footer = Folder.read_footer

    def read_with_others(folder: Folder, name: str) -> dict[str, str]:
        together.wait(timeout=10)
        return read_footer(folder, name)

    monkeypatch.setattr(Folder, "read_footer", read_with_others)
    assert total_statistics(run.folder, run.done()) == Statistics(28, {"ok": 28})
    run.folder.publish_table("9.parquet", pa.table({"x": [1]}))
    together = threading.Barrier(1)
    with pytest.raises(DataError, match=r"9\.parquet: no statistics"):
        total_statistics(run.folder, run.done())
    assert total_statistics(run.folder, []) == Statistics()


def test_ledger_content_is_that_of_files_and_shards(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("a O\n")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.parquet").write_bytes(b"rows")
    paths = [str(tmp_path / "a.conll"), str(tmp_path / "shards")]
    before = content_of(paths)
    (tmp_path / "shards" / "notes.txt").write_text("not read")
    assert content_of(paths) == before
    (tmp_path / "shards" / "0.parquet").write_bytes(b"other rows")
    assert content_of(paths) != before
    with pytest.raises(ConfigError, match="nowhere"):
        content_of([str(tmp_path / "nowhere")])
