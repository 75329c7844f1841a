"""Archives on web servers, with ranges and without, that have bad days."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from xner.config import BitextConfig, OpusConfig, PrepareConfig
from xner.corpora import miniature
from xner.corpora.bitext import read_bitext
from xner.corpora.opus import Archive, locate
from xner.engine.recipes import CorpusPreparation
from xner.errors import ConfigError, DataError, TransientError
from xner.shards.storage import Folder, read_file

BAD_DAY = {"busy": 0.1, "failed": 0.1, "cut": 0.1, "lost": 0.1, "slow": 0.05}


def files_of(folder: Path, *, with_ranges: bool) -> Callable[..., Iterable[bytes]]:
    """A web server of the files of a folder."""

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = folder / environ["PATH_INFO"].lstrip("/")
        if not path.is_file():
            start("404 Not Found", [("Content-Length", "0")])
            return []
        content, status = path.read_bytes(), "200 OK"
        headers = [("Content-Type", mimetypes.guess_type(path.name)[0] or "text/plain")]
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", environ.get("HTTP_RANGE", ""))
        if with_ranges:
            headers.append(("Accept-Ranges", "bytes"))
        if with_ranges and asked:
            first, last = int(asked[1]), min(int(asked[2]), len(content) - 1)
            headers.append(("Content-Range", f"bytes {first}-{last}/{len(content)}"))
            content, status = content[first : last + 1], "206 Partial Content"
        start(status, [*headers, ("Content-Length", str(len(content)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]

    return app


@pytest.fixture(params=[True, False], ids=["ranges", "whole"])
def web(request: pytest.FixtureRequest, serve: Any, tmp_path: Path) -> tuple[str, Any]:
    """The URL of the folder of the test, and the server's faults."""
    url, faults = serve(files_of(tmp_path, with_ranges=request.param))
    return url, faults


def tmx(folder: Path) -> Path:
    units = "".join(
        f'<tu><tuv xml:lang="en"><seg>Line {n}.</seg></tuv>'
        f'<tuv xml:lang="de"><seg>Zeile {n}.</seg></tuv></tu>'
        for n in range(500)
    )
    path = folder / "memory.tmx"
    path.write_text(f'<tmx version="1.4"><header/><body>{units}</body></tmx>')
    return path


def prepared(root: str, memory: str, output: Path) -> dict[str, bytes]:
    config = PrepareConfig(
        target_langs=["de"],
        opus=OpusConfig(root=root, corpora=[f"{name}/v1" for name in miniature.CORPORA]),
        bitexts=[BitextConfig(corpus="memory", path=memory, target_lang="de")],
        output=str(output),
        engine={"kind": "inline"},  # type: ignore[arg-type]
    )
    preparation = CorpusPreparation.plan(config)
    preparation.run.open()
    preparation.run_pending(lambda count: None)
    where = Folder.at(str(output))
    return {name: where.read(name) for name in where.names(".parquet")}


def test_web_opus_on_a_bad_day_gives_the_shards_of_a_disk(web: Any, tmp_path: Path) -> None:
    url, faults = web
    miniature.write_moses(tmp_path / "opus", 100, target_langs=["de"])
    memory = tmx(tmp_path)
    expected = prepared(str(tmp_path / "opus"), str(memory), tmp_path / "expected")
    faults.set(**BAD_DAY)
    found = prepared(f"{url}/opus", f"{url}/memory.tmx", tmp_path / "found")
    assert found == expected != {}
    assert faults.num_faults > 2


@pytest.mark.parametrize("kind", ["busy", "failed", "cut", "lost"])
def test_web_server_that_stays_away_is_a_transient_error(
    web: Any, tmp_path: Path, kind: str
) -> None:
    url, faults = web
    miniature.write_moses(tmp_path / "opus", 20, target_langs=["de"])
    (path,) = [p for p in (tmp_path / "opus").rglob("*.zip")][:1]
    remote = Archive("x", "en", "de", f"{url}/{path.relative_to(tmp_path)}", None, "moses")
    faults.set(lambda environ: environ["REQUEST_METHOD"] == "GET", **{kind: 1})
    with pytest.raises(TransientError, match="does not answer"):
        list(read_bitext(remote))
    with pytest.raises(TransientError, match="does not answer"):
        read_file(remote.path)


def test_web_tells_a_missing_archive_from_a_busy_server(web: Any, tmp_path: Path) -> None:
    url, faults = web
    opus = OpusConfig(root=url)
    with pytest.raises(DataError, match="there is no such file"):
        list(read_bitext(Archive("x", "en", "de", f"{url}/none.zip", None, "moses")))
    with pytest.raises(ConfigError, match="no such file"):
        read_file(f"{url}/none.txt")
    with pytest.raises(ConfigError, match="Europarl"):
        locate(opus, "Europarl/v8", "en", "de")
    faults.set(busy=1)
    with pytest.raises(TransientError, match=r"opus\.root: .*does not answer"):
        locate(opus, "Europarl/v8", "en", "de")
