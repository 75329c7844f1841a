"""Tagged files on the Hugging Face hub, read through its own file system from a hub made here."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xner.config import TaggedSourceConfig
from xner.corpora.tagged import TaggedSentence, read_tagged
from xner.errors import ConfigError, TransientError


def parquet(tokens: list[str]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"tokens": [tokens], "ner_tags": [["O"] * len(tokens)]}), sink)
    return sink.getvalue()


FILES = {
    "README.md": b"made here",
    "data/train-0.parquet": parquet(["a", "b"]),
    "data/train-1.parquet": parquet(["c"]),
    "raw/dev.conll": b"Tom B-PER\nlebt O\n",
}
ENTRIES = [
    *({"type": "directory", "path": path, "oid": "0"} for path in ("data", "raw")),
    *(
        {"type": "file", "path": path, "size": len(content), "oid": "0"}
        for path, content in FILES.items()
    ),
]


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as reading a data set ``owner/name`` asks for."""

    def do_GET(self) -> None:
        api, raw = "/api/datasets/owner/name", "/datasets/owner/name/resolve/main/"
        path = self.path.split("?")[0]
        if path in (api, f"{api}/revision/main"):
            self.answer(json.dumps({"id": "owner/name", "sha": "0" * 40}).encode())
        elif path == f"{api}/paths-info/main":
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.answer(json.dumps([e for e in ENTRIES if e["path"] in asked]).encode())
        elif path.startswith(f"{api}/tree/main"):
            folder = path.removeprefix(f"{api}/tree/main").removeprefix("/").replace("%2F", "/")
            inside = [e for e in ENTRIES if str(e["path"]).startswith(f"{folder}/".lstrip("/"))]
            self.answer(json.dumps(inside).encode())
        elif (name := path.removeprefix(raw)) in FILES:
            self.answer(FILES[name])
        else:
            self.answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_POST = do_GET

    def answer(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            body, status = body[int(first) : int(last) + 1], 206
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def at_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    use_endpoint(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    yield
    server.shutdown()
    server.server_close()
    huggingface_hub.HfFileSystem.clear_instance_cache()


def use_endpoint(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    huggingface_hub.HfFileSystem.clear_instance_cache()


def read(path: str, **settings: Any) -> list[TaggedSentence]:
    return read_tagged(TaggedSourceConfig(path=f"hf://datasets/owner/{path}", **settings))


def test_hub_files_are_read_in_any_format(at_hub: None) -> None:
    (sentence,) = read("name/raw/dev.conll")
    assert sentence.text == "Tom lebt"
    (sentence,) = read("name/data/train-1.parquet", format="parquet")
    assert sentence.text == "c"


@pytest.mark.parametrize("path", ["name", "name/data"])
def test_hub_folders_of_parquet_are_read(at_hub: None, path: str) -> None:
    assert [sentence.text for sentence in read(path, format="parquet")] == ["a b", "c"]


@pytest.mark.parametrize("path", ["none/a.parquet", "name/none"])
@pytest.mark.parametrize("format", ["conll", "parquet"])
def test_hub_says_what_is_not_there(at_hub: None, path: str, format: str) -> None:
    with pytest.raises(ConfigError, match=f"hf://datasets/owner/{path}: no such file"):
        read(path, format=format)


@pytest.mark.parametrize("format", ["conll", "parquet"])
def test_hub_that_does_not_answer_is_transient(
    monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    use_endpoint("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(TransientError, match=r"hf://datasets/owner/name/a: does not answer"):
        read("name/a", format=format)
