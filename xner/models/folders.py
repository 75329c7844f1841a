"""What a model folder tells without being loaded: where it lies, what it is, what it knows.

A job's driver needs no more, so nothing here imports torch or transformers. What a folder computes
is named by its content hash, which goes into a run's fingerprint.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import huggingface_hub
from huggingface_hub import errors as hub_errors
from pydantic import Field, ValidationError

from xner.config import Record
from xner.errors import ConfigError
from xner.models.fetching import fetch
from xner.shards.storage import parsed_json
from xner.text import iob2

SETTINGS_FILE = "aligner.json"
HEAD_FILE = "aligner_head.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
)
# The files that decide what a model computes; nothing else is downloaded or hashed.
MODEL_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    SETTINGS_FILE,
    *TOKENIZER_FILES,
)

TINY = "tiny"
"""Names no model but :mod:`xner.models.tiny`, made anew from what a run reads."""

Layout = Literal["single", "packed"]


class AlignerSettings(Record):
    """What aligner.json holds; `score_scale` and `score_bias` calibrate the scores of spans.

    See xner.projection.calibration; they are fitted at the end of training.
    """

    layout: Layout
    max_length: int = Field(256, ge=8)
    score_scale: float = Field(1.0, gt=0)
    score_bias: float = 0.0
    format_version: Literal[1] = 1


def local_path(name: str | Path) -> Path:
    """Where on this machine a model of this name lies, if it is a folder; `~` is one's home.

    Path.expanduser would raise for `~models/teacher`, which is mostly a slip for `~/models`.
    """
    return Path(os.path.expanduser(name))


def resolve(name: str | Path, revision: str | None = None) -> Path:
    """The local folder of a model: `name` itself, a copy of the folder at a URL, or its snapshot
    from the Hugging Face hub.

    Raises ConfigError for a folder without config.json, tokenizer or safetensors, for a hub name
    that does not exist or cannot be reached, and for the revision of a folder here, which has none;
    TransientError for a URL that does not answer.
    """
    folder = local_path(name)
    if "://" in str(name):
        folder = fetch(str(name), MODEL_FILES, revision)
    elif not folder.is_dir():
        folder = _download(str(name), revision)
    elif revision is not None:
        raise ConfigError(
            f"{name}: is a folder here, so revision {revision!r}, which is one of the hub, has no "
            "effect; leave it out, or name the folder otherwise"
        )
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder}: no config.json, so this is not a model folder")
    if not _matching(folder, ("*.safetensors",)):
        pickled = _matching(folder, ("*.bin", "*.pt", "*.pth", "*.ckpt"))
        found = f"found {pickled[0].name}: convert it to safetensors" if pickled else "found none"
        raise ConfigError(f"{folder}: weights must be *.safetensors; {found}")
    if not _matching(folder, TOKENIZER_FILES):
        raise ConfigError(f"{folder}: no tokenizer (expected tokenizer.json beside config.json)")
    _check_indices(folder)
    return folder


def _check_indices(folder: Path) -> None:
    """Refuse an index that names other files than safetensors of the folder.

    transformers would unpickle the one, and leave the folder for the other.
    """
    for path in _matching(folder, ("*.safetensors.index.json",)):
        try:
            names = set(parsed_json(path.read_bytes())["weight_map"].values())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"{path}: not an index of weights: {error!r}") from error
        there = {each.name for each in _matching(folder, ("*.safetensors",))}
        if strangers := names - there:
            raise ConfigError(
                f"{path}: names {min(map(str, strangers))!r}; expected *.safetensors beside it"
            )


def _download(name: str, revision: str | None) -> Path:
    looks_like_path = name.startswith(("/", ".", "~")) or name.count("/") > 1 or Path(name).exists()
    if looks_like_path:
        raise ConfigError(f"{name}: no such folder (a model is a folder or a name on the hub)")
    at = f"{name} at revision {revision}" if revision else name
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=list(MODEL_FILES)
            )
        )
    except (
        hub_errors.HFValidationError,
        hub_errors.RepositoryNotFoundError,
        hub_errors.RevisionNotFoundError,
    ) as error:
        raise ConfigError(
            f"{at}: neither a folder here nor a model that the Hugging Face hub shows you "
            f"({type(error).__name__})"
        ) from error
    except (
        hub_errors.HfHubHTTPError,
        hub_errors.LocalEntryNotFoundError,
        hub_errors.OfflineModeIsEnabled,
    ) as error:
        raise ConfigError(
            f"{at}: no such folder here, and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}); download the model elsewhere and name its folder"
        ) from error


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in patterns)
    )


def content_hash(folder: Path) -> str:
    """sha256 (hex) over names and contents of the files that decide what the model computes."""
    digest = hashlib.sha256()
    for path in _matching(folder, MODEL_FILES):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        digest.update(len(path.name).to_bytes(4) + path.name.encode() + content)
    return digest.hexdigest()


def encoder_content(name: str) -> str:
    """What the encoder computes, for a fingerprint: its content's hash, or ``tiny``."""
    return TINY if name == TINY else content_hash(resolve(name))


def entity_types(folder: Path) -> list[str]:
    """The entity types that a tagger knows, in the order of its labels.

    Raises ConfigError for a model whose labels are not IOB2.
    """
    path = folder / "config.json"
    try:
        labels = parsed_json(path.read_bytes()).get("id2label") or {}
        tags = [str(tag) for _, tag in sorted((int(key), tag) for key, tag in labels.items())]
    # A wrong type in a JSON leads to any of these.
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
    require_tags(tags, folder)
    return list(dict.fromkeys(tag[2:] for tag in tags if tag != iob2.OUTSIDE))


def require_tags(labels: Sequence[str], folder: Path) -> None:
    """Raises ConfigError unless these labels of the model in `folder` are IOB2 tags."""
    wrong = [
        tag for tag in labels if tag != iob2.OUTSIDE and not (tag[:2] in ("B-", "I-") and tag[2:])
    ]
    if wrong or iob2.OUTSIDE not in labels:
        raise ConfigError(
            f"{folder}: the labels of a tagger are IOB2 (O, B-PER, I-PER, ...); "
            f"this model's are {', '.join(labels) or 'not named'}"
        )


def read_settings(folder: Path) -> AlignerSettings:
    """The settings of a trained aligner. Raises ConfigError when the folder is no aligner."""
    for name in (SETTINGS_FILE, HEAD_FILE):
        if not (folder / name).is_file():
            raise ConfigError(
                f"{folder}: no {name}, so this is not an aligner; "
                "train one with jobs/train_aligner.py"
            )
    try:
        return AlignerSettings.model_validate_json((folder / SETTINGS_FILE).read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise ConfigError(f"{folder / SETTINGS_FILE}: {key}: {problem['msg']}") from error
