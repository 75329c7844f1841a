"""Model folders from any fsspec location, copied once to each machine that needs them.

A copy lies in ``$HF_HOME/xner`` under a name made of what the location says of its files (sizes,
tags, dates), so another model under the same location is another copy. It appears whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from posixpath import basename

from filelock import FileLock
from huggingface_hub import constants

from xner.errors import ConfigError, TransientError
from xner.shards.storage import Folder

_MAX_NAME_BYTES = 255


def fetch(url: str, patterns: tuple[str, ...], revision: str | None = None) -> Path:
    """This machine's copy of the files of ``url`` whose names match; its name is the revision.

    Subfolders are left out. With a ``revision`` it is that copy and no other. Raises ConfigError
    when there is no such folder or its files are other ones by now, TransientError when the
    location does not answer or the files change meanwhile.
    """
    home = Path(constants.HF_HOME) / "xner"
    if revision is not None and (home / revision).is_dir():
        return home / revision
    if url.startswith(("http://", "https://")):
        raise ConfigError(f"{url}: a web server cannot list a model's files; copy it elsewhere")
    folder = Folder.at(url)
    there = _files(folder, patterns)
    found = _digest(there)
    if revision not in (None, found):
        raise ConfigError(f"{folder}: is not at revision {revision} but at {found}")
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / f"{found}.lock"):
        if not (home / found).is_dir():
            _copy(folder, there, patterns, home / found)
    return home / found


def _files(folder: Folder, patterns: tuple[str, ...]) -> dict[str, str]:
    """What the location says of each file, by its name."""
    names = {
        basename(info["name"]): json.dumps(info, sort_keys=True, default=str)
        for info in folder.children()
        if info["type"] == "file"
    }
    matching = {
        name: said
        for name, said in names.items()
        if any(fnmatch(name, pattern) for pattern in patterns)
        # What would be a path on this machine is no name.
        and name == os.path.basename(name)
        and len(name.encode()) <= _MAX_NAME_BYTES
    }
    if not matching:
        raise ConfigError(f"{folder}: no model here (expected config.json and *.safetensors)")
    return matching


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _copy(folder: Folder, files: dict[str, str], patterns: tuple[str, ...], target: Path) -> None:
    ready = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    try:
        for name in files:
            folder.download(name, ready / name)
        if _files(folder, patterns) != files:
            raise TransientError(f"{folder}: changed while it was read")
        os.replace(ready, target)
    except FileNotFoundError as error:
        raise TransientError(f"{folder}: changed while it was read: {error}") from error
    finally:
        shutil.rmtree(ready, ignore_errors=True)
