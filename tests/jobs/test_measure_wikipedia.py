"""The pieces of `make measure-wikipedia`, on made data."""

from __future__ import annotations

import bz2
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from xner.config import EngineConfig, WikipediaConfig
from xner.corpora.alignment_set import AlignmentExample
from xner.engine.anchors import WikipediaReading
from xner.engine.choose import engine_for
from xner.shards.storage import Folder

TEXT = "The river passes [[Bonn]] and the town of [[Cologne|Köln]] on its way."


@pytest.fixture
def wikipedia(measurement: Callable[[str], ModuleType]) -> ModuleType:
    return measurement("wikipedia")


def write_dump(path: Path, num_pages: int) -> Path:
    pages = "".join(
        f"<page><title>River {i}</title><ns>0</ns><id>{i + 1}</id>"
        f"<revision><text>{TEXT}</text></revision></page>\n"
        for i in range(num_pages)
    )
    head = "<mediawiki><siteinfo><namespaces></namespaces></siteinfo>\n"
    path.write_bytes(bz2.compress(f"{head}{pages}</mediawiki>\n".encode()))
    return path


def test_measure_wikipedia_writes_tables_that_the_reader_reads(
    wikipedia: ModuleType, tmp_path: Path
) -> None:
    names = tmp_path / "names"
    names.mkdir()
    (names / "en.country.json").write_text(json.dumps({"CI": "Côte d'Ivoire", "DE": "Germany"}))
    (names / "de.country.json").write_text(json.dumps({"CI": "Elfenbeinküste", "DE": "O'Land"}))
    (names / "cities.csv").write_text(
        "name_en,name_de\n"
        "Cologne|Koln,Köln|Cölln\n"
        "Bad Ems,Bad Ems\n"
        "Nowhere,\n"
        ",Nirgendwo\n"
        "Not the country,O'Land\n"
    )
    dump = write_dump(tmp_path / "de.xml.bz2", 1)
    tables = wikipedia.write_tables(names, "de", tmp_path)
    config = WikipediaConfig(lang="de", dumps=[str(dump)], **tables)
    titles = WikipediaReading.plan(config).publish_titles(
        engine_for(EngineConfig(kind="inline")), Folder.at(str(tmp_path))
    )
    table = titles.load()
    expected = {
        "Elfenbeinküste": "Côte d'Ivoire",
        "O'Land": "Germany",
        "Köln": "Cologne",
        "Cölln": "Cologne",
        "Bad Ems": "Bad Ems",
    }
    for title, english in expected.items():
        found = table.lookup(title)
        assert found is not None and found[0] == english
    assert table.lookup("Nirgendwo") is None
    assert len(table) == len(expected)


def test_measure_wikipedia_reads_a_large_dump_of_the_same_pages(
    wikipedia: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wikipedia, "LARGE_PAGES", 80)
    monkeypatch.setattr(wikipedia, "PAGES_OF_A_STREAM", 10)
    measured = wikipedia.measure_memory(write_dump(tmp_path / "en.xml.bz2", 12), tmp_path)
    assert [each["pages"] for each in measured] == [20, 80]
    assert measured[1]["examples"] == 4 * measured[0]["examples"] > 0
    assert all(each["peak_rss_bytes"] > 20 * 2**20 for each in measured)


def test_measure_wikipedia_draws_examples_for_the_eye(wikipedia: ModuleType) -> None:
    def examples(lang: str, count: int) -> list[AlignmentExample]:
        return [
            AlignmentExample(
                f"Bonn, Köln, Bonn, {i}.",
                lang,
                ("Bonn", "Cologne"),
                (((0, 4), (12, 16)), ((6, 10),)),
                "anchor",
            )
            for i in range(count)
        ]

    sample = {lang: examples(lang, 20) for lang in ("de", "es", "nl")}
    lines = list(wikipedia.drawn({**sample, "zh": [], "en": examples("en", 60)}))
    assert len(lines) == len(set(lines)) == wikipedia.SAMPLE
    counts = {lang: sum(line.startswith(lang) for line in lines) for lang in ("de", "zh", "en")}
    assert counts == {"de": 10, "zh": 0, "en": 20}
    assert lines[0].startswith("de: [Bonn = Bonn], [Köln = Cologne], [Bonn = Bonn], ")


def test_measure_wikipedia_says_what_it_needs(
    wikipedia: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for argument in ("", str(tmp_path)):
        with pytest.raises(SystemExit) as ended:
            wikipedia.main(argument)
        assert ended.value.code == 2
        message = capsys.readouterr().err
        assert "make measure-wikipedia DATA=<folder>" in message
    assert f"There is no folder {tmp_path}/wikipedia." in message
