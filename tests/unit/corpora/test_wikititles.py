from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from xner.corpora.names import Casing
from xner.corpora.wikidump import DumpPart
from xner.corpora.wikititles import (
    TitleLink,
    TitleTable,
    dump_links,
    links_table,
    sql_links,
    wikidata_links,
)
from xner.errors import DataError

LANGLINKS = """-- MySQL dump 10.19
CREATE TABLE `langlinks` (
  `ll_from` int(8) unsigned NOT NULL DEFAULT 0,
  `ll_lang` varbinary(35) NOT NULL DEFAULT '',
  `ll_title` varbinary(255) NOT NULL DEFAULT '',
  PRIMARY KEY (`ll_from`,`ll_lang`)
) ENGINE=InnoDB;
INSERT INTO `langlinks` VALUES (1,'en','Munich'),(1,'fr','M'),(2,'en','O\\'Brien (1,\\'en\\')');
INSERT INTO `langlinks` VALUES (3,'en','Talk:X'),(4,'en','Back\\\\slash'),(5,'en','');
-- Dump completed on 2026-01-01
"""
PAGE = """CREATE TABLE `page` (
  `page_id` int(8) unsigned NOT NULL AUTO_INCREMENT,
  `page_namespace` int(11) NOT NULL DEFAULT 0,
  `page_title` varbinary(255) NOT NULL DEFAULT '',
  `page_is_redirect` tinyint(1) unsigned NOT NULL DEFAULT 0,
  `page_content_model` varbinary(32) DEFAULT NULL,
) ENGINE=InnoDB;
INSERT INTO `page` VALUES (1,0,'München',0,'wikitext'),(2,0,'O\\'Brien_(Familie)',0,NULL);
INSERT INTO `page` VALUES (3,1,'X',0,NULL),(4,0,'B',0,NULL),(5,0,'C',0,NULL),(6,0,'D',0,NULL);
"""


def _write(folder: Path, **contents: str) -> dict[str, str]:
    paths = {}
    for name, content in contents.items():
        path = folder / f"{name}.sql.gz"
        path.write_bytes(gzip.compress(content.encode()))
        paths[name] = str(path)
    return paths


@pytest.mark.parametrize("a_row_a_line", [False, True])
def test_wikititles_sql_tables_are_joined(tmp_path: Path, a_row_a_line: bool):
    contents = {"langlinks": LANGLINKS, "pages": PAGE}
    if a_row_a_line:
        # As newer versions of mariadb-dump write.
        for name, content in contents.items():
            content = content.replace(" VALUES (", " VALUES\n(").replace("),(", "),\n(")
            contents[name] = content + "INSERT INTO `other` VALUES\n(6,'en','D'),(6,0,'B',0);\n"
    paths = _write(tmp_path, **contents)
    assert list(sql_links(source_lang="en", **paths)) == [
        TitleLink("München", english="Munich"),
        TitleLink("O'Brien (Familie)", english="O'Brien (1,'en')"),
        TitleLink("B", english="Back\\slash"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"langlinks": PAGE}, "holds no rows of the table `langlinks`"),
        ({"pages": "<mediawiki>"}, "holds no rows of the table `page`"),
        ({"langlinks": LANGLINKS.replace("ll_lang", "ll_x")}, "expected ll_from, ll_lang"),
        ({"pages": PAGE[:-9]}, "truncated"),
        ({"pages": PAGE.replace("),(", "),\n(").rpartition("\n(")[0]}, "truncated"),
    ],
)
def test_wikititles_sql_wrong_files_are_told(tmp_path: Path, change, message: str):
    paths = _write(tmp_path, **{"langlinks": LANGLINKS, "pages": PAGE, **change})
    with pytest.raises(DataError, match=message):
        list(sql_links(source_lang="en", **paths))
    for path in paths.values():
        packed = Path(path).read_bytes()
        Path(path).write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="truncated"):
        list(sql_links(source_lang="en", **paths))


def _entity(**titles: str) -> str:
    links = {site: {"site": site, "title": title} for site, title in titles.items()}
    label = titles.get("label", "")
    links.pop("label", None)
    labels = {"en": {"language": "en", "value": label}} if label else {}
    return json.dumps({"type": "item", "id": "Q1", "labels": labels, "sitelinks": links})


ENTITIES = [
    _entity(enwiki="Philosopher", dewiki="Philosoph", label="philosopher"),
    _entity(enwiki="Munich", dewiki="München", frwiki="Munich", label="Munich"),
    _entity(enwiki="IPhone", dewiki="iPhone", label="iPhone"),
    _entity(enwiki="Only English", label="only"),
]
FOUND = [
    TitleLink("Philosoph", english="Philosopher", is_lower=True),
    TitleLink("München", english="Munich", is_lower=False),
    TitleLink("IPhone", english="IPhone", is_lower=False),
]


def test_wikititles_wikidata_json_and_xml_say_the_same(tmp_path: Path):
    lines = tmp_path / "all.json.bz2"
    lines.write_bytes(bz2.compress(("[\n" + ",\n".join(ENTITIES) + "\n]\n").encode()))
    assert list(wikidata_links(str(lines), "dewiki", "enwiki")) == FOUND
    pages = "".join(
        "<page><title>Q1</title><ns>0</ns><revision><model>wikibase-item</model>"
        f"<text>{entity.replace('&', '&amp;')}</text></revision></page>"
        for entity in ENTITIES
    )
    xml = tmp_path / "pages.xml"
    xml.write_text(f"<mediawiki>{pages}</mediawiki>")
    assert list(wikidata_links(str(xml), "dewiki", "enwiki")) == FOUND


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<mediawiki><page></page></mediawiki>", "holds no entity of Wikidata"),
        ("INSERT INTO", "no dump of Wikidata"),
        ("[\n]\n", "holds no entity of Wikidata"),
        (f"[\n{ENTITIES[1]},\n{ENTITIES[0][:-9]}", "entity 2: not as Wikidata writes it"),
    ],
)
def test_wikititles_wikidata_wrong_files_are_told(tmp_path: Path, content: str, message: str):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DataError, match=f"x.json.*{message}"):
        list(wikidata_links(str(path), "dewiki", "enwiki"))


def test_wikititles_dump_has_redirects_and_own_links(tmp_path: Path):
    def page(title: str, text: str, inside: str = "<ns>0</ns>") -> str:
        return (
            f"<page><title>{title}</title>{inside}<revision><text>{text}</text></revision></page>"
        )

    redirect = '<ns>0</ns><redirect title="München"/>'
    path = tmp_path / "d.xml"
    path.write_text(
        "<mediawiki>"
        + page("München", "x [[en:munich_city]] [[fr:Munich]]")
        + page("Monaco di Baviera", "#WEITERLEITUNG [[München]]", redirect)
        + page("Stachus", "#WEITERLEITUNG [[München#Stachus]]", redirect)
        + page("Diskussion:X", "[[en:X]]", "<ns>1</ns>")
        + "</mediawiki>"
    )
    assert list(dump_links(DumpPart(str(path)), "en")) == [
        TitleLink("München", english="Munich city"),
        TitleLink("Monaco di Baviera", redirect="München"),
    ]


LINKS = [
    TitleLink("München", english="Munich"),
    TitleLink("M", redirect="Minga"),
    TitleLink("Minga", redirect="München"),
    TitleLink("Kreis", redirect="Zirkel"),
    TitleLink("Zirkel", redirect="Kreis"),
    TitleLink("Ins Leere", redirect="Nirgends"),
    TitleLink("Uni", english="Free University of Munich"),
    TitleLink("Philosoph", english="Philosopher"),
    TitleLink("Naturphilosoph", english="Natural philosopher"),
    TitleLink("Ethik", english="Ethics"),
    TitleLink("Mensch", english="Human", is_lower=True),
    TitleLink("Doppelt", english="B"),
    TitleLink("Doppelt", english="A"),
]


def _lookups(table: TitleTable, *titles: str) -> list[tuple[str, int] | None]:
    return [table.lookup(title) for title in titles]


def test_wikititles_table_follows_redirects():
    table = TitleTable.of([links_table(LINKS)])
    assert _lookups(table, "München", "Minga", "M") == [("Munich", 1)] * 3
    assert _lookups(table, "Kreis", "Zirkel", "Ins Leere", "Nie gehört") == [None] * 4
    assert table.lookup("Doppelt") == ("A", 0)


def test_wikititles_table_knows_capitals():
    """Munich has one in another title, philosopher none; of ethics nothing is known."""
    table = TitleTable.of([links_table(LINKS)])
    assert _lookups(table, "Philosoph", "Ethik") == [("Philosopher", 0), ("Ethics", 0)]
    assert table.lookup("Mensch") == ("Human", -1)
    shown = TitleTable.of([links_table(LINKS)], casings=[Casing.of(["his Ethics, of Ethics"])])
    assert shown.lookup("Ethik") == ("Ethics", 1)


def test_wikititles_table_does_not_depend_on_the_order_of_its_sources():
    table = TitleTable.of([links_table(LINKS)])
    other = TitleTable.of([links_table([link]) for link in reversed(LINKS)])
    assert table.to_table().equals(other.to_table())
    assert np.all(np.diff(table.keys.astype(object)) > 0)


@pytest.mark.parametrize("is_same", [False, True])
def test_wikititles_table_round_trip(is_same: bool):
    table = TitleTable.of([links_table(LINKS)], is_same)
    again = TitleTable.from_table(table.to_table())
    assert again.to_table().equals(table.to_table())
    assert again.is_same == is_same


def test_wikititles_english_titles_are_their_own():
    table = TitleTable.of([links_table(LINKS[1:5])], is_same=True)
    assert _lookups(table, "M", "Other", "") == [("München", 0), ("Other", 0), None]
    assert TitleTable.of([]).lookup("x") is None
    assert isinstance(TitleTable.of([]).english, pa.Array)
