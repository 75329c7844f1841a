from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors

from xner.errors import ConfigError
from xner.models import folders


def test_folders_resolve_folder(folder: Path) -> None:
    assert folders.resolve(folder) == folder
    assert folders.resolve(str(folder)) == folder


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        (["config.json"], "no config.json"),
        (["model.safetensors"], r"weights must be \*.safetensors; found none"),
        (["tokenizer.json", "tokenizer_config.json"], "no tokenizer"),
    ],
)
def test_folders_resolve_incomplete_folder(copy: Path, remove: list[str], message: str) -> None:
    for name in remove:
        (copy / name).unlink()
    with pytest.raises(ConfigError, match=message) as caught:
        folders.resolve(copy)
    assert str(copy) in str(caught.value)


def test_folders_resolve_refuses_pickles(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"found pytorch_model.bin: convert it to safetensors"):
        folders.resolve(copy)


@pytest.mark.parametrize("name", ["/no/such/folder", "./model", "a/b/c", "~nobody-here/model"])
def test_folders_resolve_missing_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        folders.resolve(name)


def _http_error(kind: type[hub_errors.HfHubHTTPError]) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, "no")
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (_http_error(hub_errors.RepositoryNotFoundError), "neither a folder here nor a model"),
        (_http_error(hub_errors.RevisionNotFoundError), "at revision v9"),
        (hub_errors.HFValidationError("bad name"), "neither a folder here nor a model"),
        (hub_errors.LocalEntryNotFoundError("offline"), "cannot be reached"),
        (hub_errors.OfflineModeIsEnabled("offline"), "cannot be reached"),
    ],
)
def test_folders_resolve_hub_errors(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def download(*args: object, **options: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ConfigError, match=message):
        folders.resolve("someone/some-model", "v9")


def test_folders_resolve_hub_takes_no_pickles(
    monkeypatch: pytest.MonkeyPatch, bert_folder: Path
) -> None:
    asked = {}

    def download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(bert_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert folders.resolve("xlm-roberta-large", "main") == bert_folder
    assert asked["name"] == "xlm-roberta-large"
    assert asked["revision"] == "main"
    patterns = asked["allow_patterns"]
    assert "config.json" in patterns
    kept = huggingface_hub.utils.filter_repo_objects(
        [
            "model.safetensors",
            "sentencepiece.bpe.model",
            "pytorch_model.bin",
            "model.pt",
            "modeling.py",
            "onnx/model.onnx",
        ],
        allow_patterns=patterns,
    )
    assert list(kept) == ["model.safetensors", "sentencepiece.bpe.model"]


def test_folders_resolve_a_folder_here_has_no_revision(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.parent)
    with pytest.raises(ConfigError, match="is a folder here, so revision 'main'"):
        folders.resolve(copy.name, "main")


def test_folders_content_hash(copy: Path) -> None:
    before = folders.content_hash(copy)
    (copy / "README.md").write_text("about the model")
    (copy / "training_args.bin").write_bytes(b"x")
    assert folders.content_hash(copy) == before
    with (copy / "tokenizer.json").open("a") as file:
        file.write("\n")
    changed = folders.content_hash(copy)
    assert changed != before
    (copy / "aligner.json").write_text("{}")
    assert folders.content_hash(copy) not in (before, changed)


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {"a": "pytorch_model.bin"}},
        {"weight_map": {"a": "../model.safetensors"}},
        {"weight_map": {"a": 1}},
        {"weight_map": []},
        [],
    ],
)
def test_folders_resolve_refuses_an_index_of_other_files(copy: Path, index: object) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"a pickle")
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=r"safetensors\.index\.json"):
        folders.resolve(copy)


@pytest.mark.parametrize("label", ["PER", "B-\ud800"])
def test_folders_labels_that_are_no_tags_are_refused(copy: Path, label: str) -> None:
    (copy / "config.json").write_text(json.dumps({"id2label": {"0": "O", "1": label}}))
    with pytest.raises(ConfigError, match=str(copy)):
        folders.entity_types(copy)
