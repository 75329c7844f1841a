"""A Wikipedia read on both engines: the same examples and counts."""

from __future__ import annotations

import bz2
from pathlib import Path

import pytest

from xner.config import EngineConfig, WikipediaConfig
from xner.corpora.wikipedia import WikipediaStatistics
from xner.engine import anchors
from xner.engine.anchors import WikipediaReading
from xner.engine.choose import engine_for
from xner.errors import DataError
from xner.shards.storage import Folder

TEXT = "Er war in [[Land {0}]] und in [[New York]], dann wieder in Land {0} und in [[Ethik]]."


def _dump(folder: Path) -> str:
    pages = [
        f"<page><title>Land {n}</title><ns>0</ns><revision><text>"
        f"[[en:North Terra {n}]]{TEXT.format((n + 1) % 40)}</text></revision></page>"
        for n in range(40)
    ]
    streams = ["<mediawiki>", *pages, "</mediawiki>"]
    path = folder / "dump.xml.bz2"
    path.write_bytes(b"".join(bz2.compress(stream.encode()) for stream in streams))
    return str(path)


@pytest.mark.parametrize("kind", ["inline", "ray"])
def test_anchors_are_the_same_on_every_engine(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    if kind == "ray":
        request.getfixturevalue("local_ray")
    path = _dump(tmp_path)
    cut = anchors.dump_parts
    monkeypatch.setattr(anchors, "dump_parts", lambda path: cut(path, 2_000))
    reading = WikipediaReading.plan(WikipediaConfig(lang="de", dumps=[path]))
    assert len(reading.parts) > 2
    engine = engine_for(EngineConfig(kind=kind))
    titles = reading.publish_titles(engine, Folder.at(str(tmp_path / "out")))
    parts: list[WikipediaStatistics] = []
    examples = sorted(reading.examples(engine, titles, parts.append))
    assert [example.names for example in examples] == sorted(
        (f"North Terra {n}",) for n in range(40)
    )
    assert all(len(example.spans[0]) == 2 for example in examples)
    total = sum(parts, start=WikipediaStatistics())
    assert (total.pages, total.resolved, total.examples) == (40, 40, 40)
    assert total.refused == {"namespace": 40, "unresolved": 80}

    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:-60])
    with pytest.raises(DataError, match=r"1 parts cannot be read:\n  .*dump\.xml\.bz2: truncated"):
        list(reading.examples(engine, titles, parts.append))
