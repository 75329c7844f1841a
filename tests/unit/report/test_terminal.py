from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from xner.report.terminal import (
    as_text,
    configure_logging,
    duration,
    print_summary,
    track,
    write_summary,
)
from xner.shards.statistics import Statistics
from xner.shards.storage import Folder

SHARD = Statistics(
    rows=10, status={"ok": 7, "filtered": 3}, reasons={"mention_free": 3}, mentions={"PER": 4}
)


@pytest.fixture(autouse=True)
def _logging_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(variable, "")
    names = (None, "xner", "py.warnings", "transformers", "ray")
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = list(logging.getLogger().handlers)
    yield
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _track(shards: int, already_done: int = 0, log_every_seconds: float = 0.0) -> list[int]:
    return list(
        track(
            range(shards),
            description="project",
            total_shards=shards + already_done,
            already_done=already_done,
            statistics_of=lambda _: SHARD,
            log_every_seconds=log_every_seconds,
        )
    )


def test_track_in_a_log_gives_the_results_and_a_line_each(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "xner")
    assert _track(3, already_done=2) == [0, 1, 2]
    assert [line.split(",")[0] for line in caplog.messages] == [
        "project: 3/5 shards",
        "project: 4/5 shards",
        "project: 5/5 shards",
    ]
    assert "12 mentions, 9 refused (30%), 0s elapsed, 0s left" in caplog.messages[-1]


def test_track_in_a_log_is_silent_between_two_lines(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "xner")
    _track(50, log_every_seconds=3600)
    assert [line.split(",")[0] for line in caplog.messages] == [
        "project: 1/50 shards",
        "project: 50/50 shards",
    ]


def test_track_asks_for_the_next_result_only_when_it_is_wanted():
    asked: list[int] = []

    def results() -> Iterator[int]:
        for number in range(3):
            asked.append(number)
            yield number

    tracked = track(
        results(), description="", total_shards=3, already_done=0, statistics_of=lambda _: SHARD
    )
    assert next(tracked) == 0
    assert asked == [0]


def test_track_on_a_terminal_is_live(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for variable, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert _track(3) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "\x1b[" in shown
    assert "12 mentions, 9 refused (30%)" in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.7, "1m00s"), (185, "3m05s"), (3725, "1h02m")]
)
def test_duration_is_short(seconds: float, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (1234.5, "1,234"),
        (0.91342, "0.9134"),
        (None, "-"),
        (float("nan"), "-"),
        (True, "True"),
        ("[bold]", "[bold]"),
        (["PER", "LOC"], "PER, LOC"),
    ],
)
def test_as_text_is_readable(value: object, text: str):
    assert as_text(value) == text


def test_print_summary_prints_names_and_values(capsys: pytest.CaptureFixture[str]):
    print_summary("runs/[a]", {"rows": 32768, "model [x]": "/a/" + "b" * 90})
    shown = capsys.readouterr().out
    assert "runs/[a]" in shown and "32,768" in shown and "model [x]" in shown
    assert "/a/" + "b" * 90 in shown


def test_print_summary_prints_records_under_their_keys(capsys: pytest.CaptureFixture[str]):
    print_summary("corpora", [{"corpus": "A", "read": 1000}, {"corpus": "B", "read": None}])
    lines = capsys.readouterr().out.splitlines()
    assert any("corpus" in line and "read" in line for line in lines)
    assert any("A" in line and "1,000" in line for line in lines)
    print_summary("none", [])


def test_print_summary_sets_numbers_right_where_the_first_is_missing(
    capsys: pytest.CaptureFixture[str],
):
    print_summary("p", [{"p": None, "of": "A"}, {"p": 0.25, "of": None}])
    (best,) = (line for line in capsys.readouterr().out.splitlines() if "A" in line)
    assert best.startswith("│    - │ A")


def test_write_summary_is_json_without_nan(tmp_path: Path):
    data = {"b": float("nan"), "a": {"y": [float("inf"), 0.5], "x": 1}}
    write_summary(Folder.at(str(tmp_path / "out")), data)
    text = (tmp_path / "out" / "summary.json").read_text()
    assert json.loads(text) == {"a": {"x": 1, "y": [None, 0.5]}, "b": None}
    assert text.index('"a"') < text.index('"x"') < text.index('"y"') < text.index('"b"')


def test_configure_logging_is_quiet_by_default(capsys: pytest.CaptureFixture[str]):
    configure_logging()
    logging.getLogger("xner.engine").info("ours")
    logging.getLogger("fsspec").info("theirs")
    logging.getLogger("transformers.models").warning("advice")
    warnings.warn("python", FutureWarning, stacklevel=1)
    logging.getLogger("fsspec").warning("their warning")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ", 1)[1] for line in lines] == ["ours", "their warning"]


def test_configure_logging_shows_all_when_asked(capsys: pytest.CaptureFixture[str]):
    configure_logging(verbose=True)
    logging.getLogger("xner.engine").debug("ours")
    logging.getLogger("fsspec").info("theirs")
    assert [line.rsplit(": ", 1)[1] for line in capsys.readouterr().err.splitlines()] == [
        "ours",
        "theirs",
    ]
