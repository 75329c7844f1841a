"""Hostile input ends in our own errors, and secrets stay where they are."""

from __future__ import annotations

import ast
import bz2
import gzip
import logging
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from xner.command_line import load, run_job
from xner.config import TaggedSourceConfig
from xner.corpora.bitext import read_bitext
from xner.corpora.names import read_lexicon
from xner.corpora.opus import Archive
from xner.corpora.tagged import read_tagged
from xner.errors import ConfigError, DataError
from xner.report.card import code, markdown_table
from xner.report.document import Part, Step, render_document, write_document
from xner.report.terminal import configure_logging, print_summary, write_summary
from xner.shards.ledger import Run
from xner.shards.storage import Folder

_PROJECT = Path(__file__).resolve().parents[2]
_DEEP = "[" * 100_000
_LONG_NUMBER = "1" * 5_000


class _Settings(BaseModel):
    output: str = ""
    many: list[str] = []


def _main(settings: _Settings) -> None:
    raise AssertionError("a dry run runs nothing")


@pytest.mark.parametrize("value", [_DEEP, _LONG_NUMBER])
def test_recipe_too_deep_or_of_too_long_a_number_is_a_config_error(
    tmp_path: Path, value: str
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"output = {value}")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(_Settings, str(recipe))


def test_override_too_deep_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="--many: not valid JSON"):
        load(_Settings, None, {"many": _DEEP})


@pytest.mark.parametrize("value", [_DEEP, _LONG_NUMBER])
def test_names_too_deep_or_of_too_long_a_number_are_a_data_error(
    tmp_path: Path, value: str
) -> None:
    (tmp_path / "en.json").write_text(value)
    with pytest.raises(DataError, match=r"en\.json"):
        read_lexicon(f"{tmp_path}/{{lang}}.json", "en", "de")


def test_json_lines_too_deep_are_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(_DEEP)
    with pytest.raises(DataError, match=":1: not JSON"):
        read_tagged(TaggedSourceConfig(path=str(tmp_path / "x.jsonl"), format="jsonl"))


def test_record_too_deep_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(_DEEP)
    with pytest.raises(DataError, match="not valid JSON"):
        Folder(str(tmp_path)).read_json("run.json")


def test_footer_that_is_no_text_is_a_data_error(tmp_path: Path) -> None:
    table = pa.table({"x": [1]}).replace_schema_metadata({b"xner.statistics": b"\xff"})
    pq.write_table(table, tmp_path / "0.parquet")
    with pytest.raises(DataError, match="no text"):
        Folder(str(tmp_path)).read_footer("0.parquet")


def test_dry_run_prints_no_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    url = "s3://somekey:planted-secret@bucket/out"
    with pytest.raises(SystemExit):
        run_job(_Settings, _main, lambda _: {}, ["--output", url, "--dry-run"])
    printed = capsys.readouterr()
    assert "bucket/out" in printed.out
    assert "planted-secret" not in printed.out + printed.err


def test_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "de-en.txt.zip"
    link = zipfile.ZipInfo("X.de-en.en")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("X.de-en.de", "eins")
    with pytest.raises(DataError, match="is a link"):
        list(read_bitext(Archive("X", "en", "de", str(path))))


# What runs code that lies in its argument, by the last part of its name.
_RUNS_CODE = {"eval", "exec", "pickle", "cloudpickle", "marshal", "shelve", "dill", "joblib"}
_SOURCES = [p for f in ("xner", "jobs") for p in sorted((_PROJECT / f).rglob("*.py"))]


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: str(path.relative_to(_PROJECT)))
def test_nothing_that_a_user_names_is_run(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", "")]
            assert not _RUNS_CODE.intersection(modules)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in _RUNS_CODE
        assert called != "yaml.load"
        keywords = {each.arg: ast.unparse(each.value) for each in node.keywords}
        assert keywords.get("shell", "False") == "False"
        assert keywords.get("allow_pickle", "False") == "False"
        assert keywords.get("trust_remote_code", "False") == "False"
        if called == "torch.load":
            assert keywords["weights_only"] == "True"
        if called.startswith("Auto") and called.endswith(".from_pretrained"):
            assert "trust_remote_code" in keywords


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = str(tmp_path / "x")
    Path(path).write_bytes(pack(bytes(70 << 20)))
    with pytest.raises(DataError, match="a ratio above 200 is no text"):
        list(read_bitext(Archive("X", "en", "de", path, path)))


def test_tmx_without_the_end_of_a_unit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tmx").write_bytes(b"<tmx><body>" + b"<x/>" * (2 << 20))
    with pytest.raises(DataError, match="without the end of a unit"):
        list(read_bitext(Archive("X", "en", "de", str(tmp_path / "x.tmx"), format="tmx")))


def test_zip_of_a_huge_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "de-en.txt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"x"
        for number in range(10):
            archive.writestr(f"{number:065000}", "")
            archive.writestr(f"x{number:065000}", "")
    with pytest.raises(DataError, match="its directory claims"):
        list(read_bitext(Archive("X", "en", "de", str(path))))


def test_half_a_surrogate_pair_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"tokens": ["\\ud800"], "ner_tags": ["O"]}')
    with pytest.raises(DataError, match="not JSON"):
        read_tagged(TaggedSourceConfig(path=str(tmp_path / "x.jsonl"), format="jsonl"))


def test_record_that_is_no_object_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(DataError, match="expected a JSON object"):
        Folder(str(tmp_path)).read_record("run.json")


def test_records_logs_and_pages_hold_no_credentials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "https://me:planted-secret@host/x?token=planted-secret"
    Run(Folder(str(tmp_path)), "job", {"pairs": [url], "archives": {url: 1}}).open()
    write_summary(Folder(str(tmp_path)), {"model": {"path": url}})
    part = Part("t", figures={"model": url}, rows=[{"path": url}])
    write_document(str(tmp_path / "index.html"), url, [part])
    configure_logging(verbose=True)
    logging.getLogger("other").info("reads %s", url)
    print_summary(f"train: {url}", {"reads": url})
    for path in tmp_path.iterdir():
        assert "host/x" in path.read_text()
        assert "planted-secret" not in path.read_text()
    printed = capsys.readouterr()
    assert "host/x" in printed.out and "host/x" in printed.err
    assert "planted-secret" not in printed.out + printed.err


def test_card_and_page_say_foreign_text_and_do_not_obey_it() -> None:
    script = "<script>a</script>|`[x](y)\nz"
    assert markdown_table({script: script}).count("\n") == 3
    assert "<script>" not in markdown_table({script: [script]})
    assert code(script).count("`") == 2 and "\n" not in code(script)
    part = Part(
        script, script, {script: script}, [Step(script, 1, script)], None, [{script: script}]
    )
    page = render_document(script, [part])
    assert "&lt;script&gt;" in page and "<script>" not in page
