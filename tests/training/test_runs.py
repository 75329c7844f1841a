from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from safetensors.torch import load_file

from xner.config import OptimizationConfig, TrainAlignerConfig
from xner.errors import ConfigError, TransientError
from xner.shards.storage import Folder
from xner.training import places
from xner.training.runs import as_rows, fingerprint, fit, is_held_out, state_of
from xner.training.tracking import EVENTS

FAST = OptimizationConfig(epochs=4, batch_tokens=64, learning_rate=0.02, num_workers=0)


def run(task: Any, output: Any, optimization: Any = FAST, settings: str = "mine") -> Any:
    return fit(
        lambda *_: task,
        optimization,
        output=str(output),
        job="test",
        fingerprint={"settings": settings},
    )


def found(output: Any, optimization: Any = FAST, settings: str = "mine") -> str:
    state = state_of(
        str(output),
        optimization,
        reads=[],
        job="test",
        fingerprint=lambda: {"settings": settings},
    )
    return state["output"]


def test_runs_publish_a_whole_folder_and_nothing_else(linear_task: Any, tmp_path: Path) -> None:
    summary = run(linear_task(), tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    names = sorted(path.name for path in (tmp_path / "model").iterdir())
    events = [f"{EVENTS}{record['step']:010d}.xner" for record in summary["history"]]
    assert names == [*events, "model.pt", "run.json", "training.json"]
    assert summary["epochs"] == 4
    assert summary["metrics"] == {"closeness": summary["history"][-1]["closeness"]}


def test_runs_publish_to_another_file_system(linear_task: Any) -> None:
    summary = run(linear_task(), "memory://bucket/models/linear")
    store = fsspec.filesystem("memory")
    names = sorted(path.rsplit("/", 1)[-1] for path in store.find("/bucket/models"))
    assert [name for name in names if not name.startswith(EVENTS)] == [
        "model.pt",
        "run.json",
        "training.json",
    ]
    assert json.loads(store.cat("/bucket/models/linear/training.json"))["steps"] == summary["steps"]
    assert run(linear_task(), "memory://bucket/models/linear")["steps"] == summary["steps"]


def test_runs_have_nothing_to_do_where_the_model_stands(linear_task: Any, tmp_path: Path) -> None:
    first = run(linear_task(), tmp_path / "model")

    def unwanted(folder: Folder, number: int) -> Any:
        raise AssertionError("no task is needed")

    again = fit(
        unwanted,
        FAST,
        output=str(tmp_path / "model"),
        job="test",
        fingerprint={"settings": "mine"},
    )
    assert again == first
    assert "nothing to do" in found(tmp_path / "model")


def test_runs_refuse_the_model_of_another_run(linear_task: Any, tmp_path: Path) -> None:
    run(linear_task(), tmp_path / "model")
    with pytest.raises(ConfigError, match='settings: there "mine", now "yours"'):
        run(linear_task(), tmp_path / "model", settings="yours")
    with pytest.raises(ConfigError, match='settings: there "mine", now "yours"'):
        found(tmp_path / "model", settings="yours")


def test_runs_refuse_a_folder_with_something_else(linear_task: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("do not overwrite")
    with pytest.raises(ConfigError, match=r"holds thesis\.tex"):
        run(linear_task(), tmp_path)
    with pytest.raises(ConfigError, match=r"holds thesis\.tex"):
        found(tmp_path)


class Killed(BaseException):
    """As abrupt as an exception can be."""


def kill_after(monkeypatch: pytest.MonkeyPatch, epoch: int, committed: bool) -> None:
    commit = places.InProcess.commit

    def dying(self: Any, folder: Any, state: Any) -> None:
        if state.epoch == epoch and not committed:
            raise Killed
        commit(self, folder, state)
        if state.epoch == epoch:
            raise Killed

    monkeypatch.setattr(places.InProcess, "commit", dying)


@pytest.mark.parametrize("committed", [True, False])
def test_runs_that_were_killed_end_as_undisturbed_ones(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    task = linear_task(dropout=0.2)
    expected = run(task, tmp_path / "undisturbed")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, 2, committed)
        run(task, tmp_path / "killed")
    assert not (tmp_path / "killed").exists()
    assert "go on" in found(tmp_path / "killed")
    summary = run(task, tmp_path / "killed")
    assert summary["curve"] == expected["curve"]
    there, here = (
        torch.load(tmp_path / name / "model.pt", weights_only=True)
        for name in ("undisturbed", "killed")
    )
    assert all(torch.equal(there[name], here[name]) for name in there)


def test_runs_keep_the_last_checkpoint_where_the_disk_is_full(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = linear_task(dropout=0.2)
    expected = run(task, tmp_path / "undisturbed")
    put = LocalFileSystem.put_file

    def full(self: Any, source: str, target: str, **options: Any) -> None:
        if "epoch-0002/" in target and not target.endswith("state.json"):
            Path(target).write_bytes(Path(source).read_bytes()[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        put(self, source, target, **options)

    with (
        monkeypatch.context() as patch,
        pytest.raises(TransientError, match=r"epoch-0002/[a-z.]+: No space left.*free"),
    ):
        patch.setattr(LocalFileSystem, "put_file", full)
        run(task, tmp_path / "model")
    there = (tmp_path / "model.training").glob("epoch-*")
    assert [path.name for path in there] == ["epoch-0001"]
    assert run(task, tmp_path / "model")["curve"] == expected["curve"]


@pytest.mark.parametrize("file", ["weights", "optimizer"])
def test_runs_name_the_folder_where_a_checkpoint_has_no_room_to_be_made(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    def full(*arguments: Any) -> None:
        raise {
            "weights": SafetensorError("I/O error: No space left on device (os error 28)"),
            "optimizer": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        }[file]

    function = {"weights": "xner.training.loop.save_file", "optimizer": "torch.save"}[file]
    monkeypatch.setattr(function, full)
    with pytest.raises(TransientError, match=f"{tempfile.gettempdir()}: .*No space left"):
        run(linear_task(), tmp_path / "model")


def test_runs_refuse_to_go_on_under_other_settings(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, 1, committed=True)
        run(linear_task(), tmp_path / "model")
    with pytest.raises(ConfigError, match="belongs to another run"):
        run(linear_task(), tmp_path / "model", settings="yours")
    with pytest.raises(ConfigError, match="belongs to another run"):
        found(tmp_path / "model", settings="yours")


def test_runs_refuse_to_go_on_where_another_kind_of_worker_began(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after(monkeypatch, epoch=2, committed=True)
    with pytest.raises(Killed):
        run(linear_task(), tmp_path / "model")
    there = tmp_path / "model.training"
    on_ray = FAST.model_copy(update={"num_workers": 1})
    with pytest.raises(ConfigError, match=r"num_workers = 0, in one process, which cannot be"):
        run(linear_task(), tmp_path / "model", on_ray)
    with pytest.raises(ConfigError, match=r"num_workers = 0, in one process, which cannot be"):
        found(tmp_path / "model", on_ray)
    (there / "progress.json").rename(there / "checkpoint_manager_snapshot.json")
    with pytest.raises(ConfigError, match=r"num_workers > 0, on Ray, which cannot be"):
        run(linear_task(), tmp_path / "model")
    assert {path.name for path in there.glob("epoch-*")} == {"epoch-0002"}


def test_runs_hold_their_folder(linear_task: Any, tmp_path: Path) -> None:
    refused = []

    def make_task(folder: Folder, number: int) -> Any:
        with pytest.raises(TransientError, match="held by another run: test of") as error:
            run(linear_task(), tmp_path / "model")
        refused.append(error.value)
        return linear_task()

    output = str(tmp_path / "model")
    fit(make_task, FAST, output=output, job="test", fingerprint={"settings": "mine"})
    assert refused and [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), SafetensorError("full")])
def test_runs_keep_their_checkpoints_where_the_model_has_no_room(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: Any) -> None:
        raise error

    task = linear_task()
    with monkeypatch.context() as patch:
        patch.setattr(type(task), "save", full)
        with pytest.raises(TransientError, match=r"model cannot be written there: .*full"):
            run(task, tmp_path / "model")
    assert "go on after its last checkpoint" in found(tmp_path / "model")
    assert run(task, tmp_path / "model")["epochs"] == 4


def test_runs_that_failed_before_the_first_epoch_bind_nobody(
    linear_task: Any, tmp_path: Path
) -> None:
    def broken(folder: Folder, number: int) -> Any:
        folder.publish("encoder", b"half")
        raise ConfigError("a typing error in the recipe")

    with pytest.raises(ConfigError, match="typing error"):
        fit(broken, FAST, output=str(tmp_path / "m"), job="test", fingerprint={"settings": "bad"})
    assert run(linear_task(), tmp_path / "m", settings="good")["epochs"] == 4


def test_runs_that_were_killed_as_they_made_their_first_checkpoint_bind_nobody(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Folder.upload

    def dying(self: Folder, name: str, file: Path) -> None:
        upload(self, name, file)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Folder, "upload", dying)
        run(linear_task(), tmp_path / "m", settings="bad")
    assert [path.name for path in (tmp_path / "m.training").glob("epoch-*/*")]
    assert "train from the start" in found(tmp_path / "m", settings="good")
    run(linear_task(), tmp_path / "m", settings="good")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_runs_leave_a_folder_alone_that_only_has_their_name(
    linear_task: Any, tmp_path: Path
) -> None:
    mine = tmp_path / "model.training" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("do not remove")
    with pytest.raises(ConfigError):
        fit(
            lambda *_: (_ for _ in ()).throw(ConfigError("no data")),
            FAST,
            output=str(tmp_path / "model"),
            job="test",
            fingerprint={},
        )
    assert mine.read_text() == "do not remove"


def test_runs_finish_an_upload_that_was_cut_off(
    linear_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = "memory://bucket/cut/linear"
    store = fsspec.filesystem("memory")
    put = type(store).put_file

    def cut_off(self: Any, source: str, target: str, **options: Any) -> None:
        if target.endswith("training.json"):
            raise Killed
        put(self, source, target, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(type(store), "put_file", cut_off)
        run(linear_task(), output)
    assert store.exists("/bucket/cut/linear/model.pt")
    run(linear_task(), output)
    assert store.exists("/bucket/cut/linear/training.json")


def test_runs_keep_the_last_and_the_best_checkpoint(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.1, 0.9, 0.3, 0.2])
    monkeypatch.setattr(linear_task, "evaluate", lambda self, model: {"closeness": next(scores)})
    seen: list[list[str]] = []
    commit = places.InProcess.commit

    def looking(self: Any, folder: Any, state: Any) -> None:
        commit(self, folder, state)
        there = (tmp_path / "model.training").glob("epoch-*")
        seen.append(sorted(path.name for path in there))

    monkeypatch.setattr(places.InProcess, "commit", looking)
    summary = run(linear_task(), tmp_path / "model")
    assert seen == [
        ["epoch-0001"],
        ["epoch-0002"],
        ["epoch-0002", "epoch-0003"],
        ["epoch-0002", "epoch-0004"],
    ]
    assert summary["best_epoch"] == 2
    assert summary["metrics"] == {"closeness": 0.9}


def test_runs_publish_the_mean_of_the_best_epochs(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.1, 0.9, 0.3, 0.2, 0.8])
    monkeypatch.setattr(linear_task, "evaluate", lambda self, model: {"closeness": next(scores)})
    kept: dict[str, Any] = {}
    commit = places.InProcess.commit

    def looking(self: Any, folder: Any, state: Any) -> None:
        commit(self, folder, state)
        kept.clear()
        for path in (tmp_path / "model.training").glob("epoch-*"):
            kept[path.name] = load_file(path / "weights.safetensors")

    monkeypatch.setattr(places.InProcess, "commit", looking)
    two = FAST.model_copy(update={"keep_best": 2})
    summary = run(linear_task(), tmp_path / "model", two)
    assert kept.keys() == {"epoch-0002", "epoch-0003", "epoch-0004"}
    assert (summary["best_epoch"], summary["metrics"]) == (2, {"closeness": 0.8})
    for name, weight in torch.load(tmp_path / "model" / "model.pt", weights_only=True).items():
        mean = (kept["epoch-0002"][name] + kept["epoch-0003"][name]) / 2
        assert torch.allclose(weight, mean, atol=1e-7)


SOUP = FAST.model_copy(update={"soup": 3})


def test_runs_publish_the_mean_of_a_soup(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs from one start; the first is the run that there would be without a soup."""
    task = linear_task()
    alone = run(task, tmp_path / "alone")
    begun, ended = [], []
    make_model, commit = linear_task.make_model, places.InProcess.commit

    def making(self: Any) -> Any:
        model = make_model(self)
        begun.append({name: weight.clone() for name, weight in model.state_dict().items()})
        return model

    def looking(self: Any, folder: Any, state: Any) -> None:
        commit(self, folder, state)
        if state.epoch == FAST.epochs:
            ended.append(load_file(folder / "weights.safetensors"))

    monkeypatch.setattr(linear_task, "make_model", making)
    monkeypatch.setattr(places.InProcess, "commit", looking)
    summary = run(task, tmp_path / "model", SOUP)
    *begun, _ = begun
    first, *others = ended
    there = torch.load(tmp_path / "alone" / "model.pt", weights_only=True)
    model = torch.load(tmp_path / "model" / "model.pt", weights_only=True)
    assert len(begun) == 3 and len(others) == 2
    for name, weight in model.items():
        assert all(torch.equal(each[name], begun[0][name]) for each in begun)
        assert torch.equal(first[name], there[name])
        assert not any(torch.allclose(each[name], first[name]) for each in others)
        assert torch.allclose(weight, sum(each[name] for each in ended) / 3, atol=1e-7)
    runs = summary["runs"]
    assert runs[0]["curve"] == alone["curve"]
    assert runs[1]["curve"] != runs[2]["curve"]
    assert summary["steps"] == sum(each["steps"] for each in runs) == 3 * alone["steps"]
    network = make_model(task)
    network.load_state_dict(model)
    assert summary["metrics"] == task.evaluate(network.eval())
    assert as_rows(summary)["best epoch"] == "4, 4, 4"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "model"]


@pytest.mark.parametrize(
    ("number", "epoch", "committed"),
    [(2, 1, False), (2, 1, True), (2, FAST.epochs, True), (3, 2, False)],
)
def test_runs_of_a_soup_that_was_killed_go_on_where_it_was(
    linear_task: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    epoch: int,
    committed: bool,
) -> None:
    task = linear_task(dropout=0.2)
    expected = run(task, tmp_path / "undisturbed", SOUP)
    commit = places.InProcess.commit

    def dying(self: Any, folder: Any, state: Any) -> None:
        dies = (self.folder.name, state.epoch) == (f"killed-{number}", epoch)
        if committed or not dies:
            commit(self, folder, state)
        if dies:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(places.InProcess, "commit", dying)
        run(task, tmp_path / "killed", SOUP)
    assert "go on" in found(tmp_path / "killed", SOUP)
    # Of the runs that are over the weights alone are left.
    over = (tmp_path / "killed.training" / "killed-1").glob("epoch-*/*")
    assert sorted(path.name for path in over) == ["state.json", "weights.safetensors"]
    for settings in (FAST, SOUP):
        with pytest.raises(ConfigError, match="belongs to another run"):
            run(task, tmp_path / "killed", settings, settings="of another soup")
    made = []

    def make_task(folder: Folder, number: int) -> Any:
        assert folder.name == "killed.training"
        made.append(number + 1)
        return task

    output = str(tmp_path / "killed")
    summary = fit(make_task, SOUP, output=output, job="test", fingerprint={"settings": "mine"})
    assert made == list(range(number, 4))
    assert [each["curve"] for each in summary["runs"]] == [
        each["curve"] for each in expected["runs"]
    ]
    assert summary["metrics"] == expected["metrics"]


def test_runs_of_a_soup_are_not_repeated_where_the_model_had_no_room(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    task = linear_task()
    with monkeypatch.context() as patch, pytest.raises(TransientError, match="full"):
        patch.setattr(type(task), "save", full)
        run(task, tmp_path / "model", SOUP)
    monkeypatch.setattr("xner.training.runs.train_in_process", full)
    assert run(task, tmp_path / "model", SOUP)["epochs"] == 12


def test_runs_of_a_soup_count_the_same_however_many_epochs_they_had(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first stops after two epochs, whose mean counts as much as that of the second's three."""
    scores = iter([0.9, 0.1, 0.3, 0.4, 0.5, 0.6, 0.7])
    monkeypatch.setattr(linear_task, "evaluate", lambda self, model: {"closeness": next(scores)})
    weights: dict[str, Any] = {}
    commit = places.InProcess.commit

    def looking(self: Any, folder: Any, state: Any) -> None:
        commit(self, folder, state)
        weights[self.folder.name, state.epoch] = load_file(folder / "weights.safetensors")

    monkeypatch.setattr(places.InProcess, "commit", looking)
    settings = FAST.model_copy(update={"soup": 2, "keep_best": 3, "patience": 1})
    summary = run(linear_task(), tmp_path / "model", settings)
    assert [each["epochs"] for each in summary["runs"]] == [2, 4]
    shares = {("model-1", 1): 1 / 4, ("model-1", 2): 1 / 4}
    shares |= {("model-2", epoch): 1 / 6 for epoch in (2, 3, 4)}
    for name, weight in torch.load(tmp_path / "model" / "model.pt", weights_only=True).items():
        mean = sum(share * weights[at][name] for at, share in shares.items())
        assert torch.allclose(weight, mean, atol=1e-7)
    assert summary["metrics"] == {"closeness": 0.7}


def test_runs_publish_a_soup_to_another_file_system(linear_task: Any) -> None:
    run(linear_task(), "memory://bucket/soups/linear", SOUP)
    store = fsspec.filesystem("memory")
    names = {path.partition("/linear/")[2] for path in store.find("/bucket/soups")}
    events = {name for name in names if EVENTS in name}
    assert names - events == {"model.pt", "run.json", "training.json"}
    assert {name.partition("/")[0] for name in events} == {"linear-1", "linear-2", "linear-3"}


def test_runs_of_soups_with_other_seeds_have_nothing_in_common() -> None:
    runs = [
        OptimizationConfig(seed=seed).of_run(number).seed
        for seed in range(9)
        for number in range(9)
    ]
    assert len(set(runs)) == 81
    assert runs[::9] == list(range(9))


def test_runs_without_held_out_examples_take_the_last_epoch(
    linear_task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_task, "evaluate", lambda self, model: {})
    summary = run(linear_task(), tmp_path / "model")
    assert (summary["best_epoch"], summary["metrics"]) == (4, {})


def test_runs_tell_of_which_epoch_a_number_is() -> None:
    history = [{"epoch": 1, "loss": 0.5, "dev_f1": 0.9}, {"epoch": 2, "loss": 0.25, "dev_f1": 0.8}]
    summary = {"steps": 8, "epochs": 2, "best_epoch": 1, "seconds": 2.0, "tokens": 30}
    rows = as_rows({**summary, "metrics": {"dev_f1": 0.9}, "history": history})
    assert (rows["best epoch"], rows["dev_f1"]) == ("1", 0.9)
    assert rows["loss in the last epoch"] == 0.25
    assert rows["sub-words/s"] == 15


def test_runs_fingerprint_leaves_out_where_and_how_fast() -> None:
    base = TrainAlignerConfig(examples=["a"], output="x")
    faster = OptimizationConfig(
        num_workers=8,
        min_workers=2,
        forward_tokens=64,
        checkpoint_steps=9,
        gradient_checkpointing=True,
        compile=True,
        sharding="fsdp",
    )
    elsewhere = base.model_copy(update={"output": "y", "optimization": faster})
    assert fingerprint(base, {}) == fingerprint(elsewhere, {})
    for settings in (OptimizationConfig(seed=1), OptimizationConfig(soup=2)):
        other = base.model_copy(update={"optimization": settings})
        assert fingerprint(base, {}) != fingerprint(other, {})
    assert fingerprint(base, {"data": "1"}) != fingerprint(base, {"data": "2"})


def test_runs_hold_out_about_the_share_that_was_asked_for() -> None:
    held_out = [is_held_out(f"sentence {number}", 0.2) for number in range(5000)]
    assert 0.17 < sum(held_out) / 5000 < 0.23
    assert not any(is_held_out(f"sentence {number}", 0.0) for number in range(100))
    assert all(is_held_out(f"sentence {number}", 1.0) for number in range(100))
