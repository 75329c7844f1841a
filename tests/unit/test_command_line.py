from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from xner.command_line import load, run_job
from xner.config import (
    EvaluateProjectionConfig,
    PrepareConfig,
    ProjectConfig,
    StudyConfig,
    TeacherConfig,
    TrainTaggerConfig,
)
from xner.errors import ConfigError, DataError

RECIPE = """
target_langs = ["de", "zh"]
output = "out"
[opus]
corpora = ["Tatoeba"]
[sampling]
pairs = 1000
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_command_line_overrides_lie_over_the_recipe(recipe: Path) -> None:
    overrides = {
        "sampling.pairs": "none",
        "sampling.seed": "7",
        "target_langs": "es, nl",
        "cleaning.allow_identical": "true",
        "cleaning.max_length_ratio": "2.5",
        "bitexts": '[{"corpus": "Mine", "target_lang": "es", "path": "x.tmx"}]',
    }
    config = load(PrepareConfig, str(recipe), overrides)
    assert config.sampling.pairs is None and config.sampling.seed == 7
    assert config.target_langs == ["es", "nl"]
    assert config.cleaning.allow_identical and config.cleaning.max_length_ratio == 2.5
    assert config.bitexts[0].corpus == "Mine"
    assert config.opus.corpora == ["Tatoeba"]


def test_command_line_overrides_reach_into_optional_groups() -> None:
    overrides = {"source.path": "a", "target.path": "b", "aligner.model": "c", "output": "d"}
    assert load(EvaluateProjectionConfig, None, overrides).teacher is None
    more = {"mentions": "teacher", "teacher.model": "e", "teacher.batch_tokens": "7"}
    teacher = load(EvaluateProjectionConfig, None, {**overrides, **more}).teacher
    assert teacher == TeacherConfig(model="e", batch_tokens=7)
    with pytest.raises(ConfigError, match=r"command line: id_map\.source_column: missing"):
        load(EvaluateProjectionConfig, None, {**overrides, "id_map.path": "f"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("shard_pair = 5", "recipe.toml: shard_pair: unknown setting; did you mean 'shard_pairs'?"),
        ("shard_pairs = 0", "recipe.toml: shard_pairs: input should be greater than or equal to 1"),
        ("shard_pairs = 'x'", "recipe.toml: shard_pairs: input should be a valid integer"),
        ("[engine]\nkind = 'spark'", "recipe.toml: engine.kind: input should be 'ray' or 'inline'"),
        ("[cleaning]\nmax_char = 1", "did you mean 'max_chars'?"),
        ("[[bitexts]]\ncorpus = 'a'\npath = 'b'", "recipe.toml: bitexts.0.target_lang: missing"),
        ("[[bitexts]]\ncorpos = 'a'", "bitexts.0.corpos: unknown setting; did you mean 'corpus'?"),
        ("x = ", "not valid TOML"),
    ],
)
def test_command_line_wrong_recipe_names_file_and_key(
    tmp_path: Path, line: str, message: str
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('target_langs = ["de"]\noutput = "out"\nopus = {corpora = ["A"]}\n' + line)
    with pytest.raises(ConfigError) as refusal:
        load(PrepareConfig, str(path))
    assert message in str(refusal.value)


def test_command_line_reads_recipes_with_a_byte_order_mark(recipe: Path) -> None:
    plain = load(PrepareConfig, str(recipe))
    recipe.write_bytes(b"\xef\xbb\xbf" + recipe.read_bytes())
    assert load(PrepareConfig, str(recipe)) == plain


def test_command_line_lists_every_problem(recipe: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(PrepareConfig, str(recipe), {"sampling.pairs": "0", "shard_pairs": "many"})
    assert "--sampling.pairs: " in str(refusal.value)
    assert "--shard_pairs: " in str(refusal.value)


def test_command_line_says_which_option_or_file_a_wrong_value_is_of(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('pairs = "p"\noutput = "o"\naligner.exact_match = true\n')
    overrides = {"teacher.model": "a", "teacher.batch_tokens": "many", "quality.labels": "[1]"}
    with pytest.raises(ConfigError) as refusal:
        load(ProjectConfig, str(recipe), overrides)
    first, second = str(refusal.value).split("\n  ")
    assert first.startswith("--teacher.batch_tokens: input should be a valid integer")
    assert first.endswith(", or input should be 'auto', found 'many'")
    assert second == "--quality.labels 0: input should be a valid string, found 1"
    recipe.write_text(recipe.read_text() + 'teacher = {model = "a", batch_tokens = "many"}\n')
    with pytest.raises(ConfigError, match=r"recipe\.toml: teacher\.batch_tokens: input should"):
        load(ProjectConfig, str(recipe))


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_command_line_numbers_are_those_that_a_run_can_write_down(recipe: Path, value: str) -> None:
    message = rf"^--cleaning\.max_length_ratio: .*finite number, found '{value}'"
    with pytest.raises(ConfigError, match=message):
        load(PrepareConfig, str(recipe), {"cleaning.max_length_ratio": value})
    recipe.write_text(f"{RECIPE}[engine]\nshard_seconds = {value}\n")
    with pytest.raises(ConfigError, match=r"recipe\.toml: engine\.shard_seconds: .*finite number"):
        load(PrepareConfig, str(recipe))


def test_command_line_says_which_options_had_a_part_in_a_contradiction(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('pairs = "p"\noutput = "o"\nteacher.model = "a"\naligner.links = {}\n')
    message = r"recipe\.toml with --aligner\.threshold: aligner: threshold: is for a model alone"
    with pytest.raises(ConfigError, match=message):
        load(ProjectConfig, str(recipe), {"output": "there", "aligner.threshold": "0.7"})
    whole = "target_langs = ['de']\noutput = 'o'\n"
    recipe.write_text(whole + "opus.corpora = ['A']\n")
    with pytest.raises(ConfigError, match=r"recipe\.toml with --opus\.corpora: nothing to read"):
        load(PrepareConfig, str(recipe), {"opus.corpora": ""})
    recipe.write_text(whole)
    with pytest.raises(ConfigError, match=r"recipe\.toml: nothing to read"):
        load(PrepareConfig, str(recipe))


def test_command_line_impossible_combination(tmp_path: Path) -> None:
    models = {"teacher.model": "a", "aligner.model": "b", "pairs": "p", "output": "o"}
    with pytest.raises(ConfigError, match=r"teacher\.pool: max_size \(1\) is below min_size \(3\)"):
        load(ProjectConfig, None, {**models, "teacher.pool.min_size": "3"})


def test_command_line_missing_recipe() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file"):
        load(PrepareConfig, "nowhere.toml")


def exit_code(arguments: list[str], main: object = lambda config: None) -> int:
    main.__module__ = __name__  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as stop:
        run_job(PrepareConfig, main, lambda config: {"archives": "3"}, arguments)  # type: ignore[arg-type]
    return int(stop.value.code or 0)


def test_command_line_exit_codes(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([str(recipe)]) == 0
    assert exit_code([str(recipe), "--shard_pairs", "0"]) == 2
    assert "error: --shard_pairs:" in capsys.readouterr().err

    def bad_data(config: PrepareConfig) -> None:
        raise DataError("x.zip: truncated")

    assert exit_code([str(recipe)], bad_data) == 3
    assert capsys.readouterr().err == "error: x.zip: truncated\n"


def test_command_line_unknown_option_suggests(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code([str(recipe), "--opus.corproa", "x"]) == 2
    assert "did you mean --opus.corpora?" in capsys.readouterr().err


def test_command_line_dry_run_prints_a_recipe(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(config: PrepareConfig) -> None:
        raise AssertionError

    assert exit_code([str(recipe), "--dry-run", "--sampling.seed", "3"], never) == 0
    text, _, plan = capsys.readouterr().out.partition("What would be done")
    again = PrepareConfig.model_validate(tomllib.loads(text))
    assert again == load(PrepareConfig, str(recipe), {"sampling.seed": "3"})
    assert "archives" in plan


def test_command_line_refuses_an_output_that_is_thrown_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    asked = ["--target_langs", "de", "--opus.corpora", "Tatoeba", "--dry-run"]
    assert exit_code([*asked, "--output", "data/pairs"]) == 2
    assert (
        "output = 'data/pairs': a submitted job runs in a folder of Ray's"
        in capsys.readouterr().err
    )
    for output in ("s3://bucket/pairs", "/data/pairs"):
        assert exit_code([*asked, "--output", output]) == 0


def test_command_line_help_lists_every_setting(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["--help"]) == 0
    text = capsys.readouterr().out
    assert "--cleaning.max_length_ratio VALUE" in text
    assert "Default: 32768." in text and "Required." in text
    assert "One of: ray, inline." in text


def test_command_line_help_lists_the_settings_of_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for record in (TrainTaggerConfig, StudyConfig):
        with pytest.raises(SystemExit):
            run_job(record, lambda config: None, lambda config: {}, ["--help"])
    lines = capsys.readouterr().out.splitlines()
    data = lines.index("settings: each table of [[data]]:")
    assert lines[data + 2].split()[:2] == ["path", "File,"]
    assert any(line.startswith("    token_column          Column of the") for line in lines[data:])
    assert lines[lines.index("settings: each table of [[dev]]:") + 1] == "  as in [[data]]"
    assert "settings: each table of [[languages.gold]]:" in lines
    assert max(map(len, lines)) <= 84
    assert not any("Config(" in line or "%%" in line for line in lines)


def test_command_line_help_says_what_an_optional_group_requires(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run_job(EvaluateProjectionConfig, lambda config: None, lambda config: {}, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "hub. Required where teacher is set." in text
    assert "--output VALUE Folder for the scores and the predictions. Required. " in text
