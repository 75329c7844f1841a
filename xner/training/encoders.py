"""The encoder that training starts from, wherever the workers are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from xner.models.characters import add_to_tokenizer
from xner.models.encoder import load_tokenizer
from xner.models.folders import TINY, local_path, resolve
from xner.models.tiny import new_encoder_folder
from xner.shards.storage import Folder
from xner.training.places import local_copy


@dataclass(frozen=True)
class Encoder:
    """A hub name, an absolute local folder, or a folder that lies with the run.

    What a worker needs to find it, and no more: workers load it themselves, as they may run on
    other machines and in other directories than the process that started them.
    """

    name: str = ""
    folder: Folder | None = None

    @contextmanager
    def files(self) -> Iterator[Path]:
        """The model folder, on this machine, for the time of the block."""
        if self.folder is None:
            yield resolve(self.name)
        else:
            with local_copy(self.folder) as path:
                yield path

    def tokenizer(self, characters: Sequence[str] = ()) -> PreTrainedTokenizerFast:
        """The encoder's tokenizer, loaded anew, with these characters as sub-words."""
        with self.files() as folder:
            tokenizer = load_tokenizer(folder)
        add_to_tokenizer(tokenizer, characters)
        return tokenizer


def find_encoder(name: str, texts: Iterable[str], run_folder: Folder, seed: int) -> Encoder:
    """The encoder that the setting ``encoder`` names.

    ``tiny`` is made from ``texts``, once: it lies in the run's folder, so that a run that goes on
    goes on with the same one. Raises ConfigError when ``name`` is no model.
    """
    if name != TINY:
        resolve(name)
        local = local_path(name)
        return Encoder(str(local.resolve()) if local.is_dir() else name)
    folder = run_folder / "encoder"
    if not folder.exists("config.json"):
        with tempfile.TemporaryDirectory(prefix="xner-encoder-") as made:
            files = new_encoder_folder(texts, made, seed).iterdir()
            # config.json last: it says that the others are there.
            for file in sorted(files, key=lambda file: file.name == "config.json"):
                folder.publish(file.name, file.read_bytes())
    return Encoder(folder=folder)
