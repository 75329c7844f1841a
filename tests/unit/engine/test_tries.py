"""Which shards are given up: those that kill, not those that were on nodes that were lost."""

from __future__ import annotations

from xner.engine.tries import MAX_LOADS, MAX_LOST, MAX_WAIT_SECONDS, Tries


def test_tries_give_up_a_shard_that_kills_every_time() -> None:
    tries = Tries(lambda: {"here"})
    for _ in range(MAX_LOST):
        assert tries.begin("label", "1", "here") == 0
    assert tries.begin("label", "1", "here") == 1
    assert tries.begin("align", "1", "here") == tries.begin("label", "2", "here") == 0
    for _ in range(MAX_LOST - 1):
        assert tries.begin("label", "2", "here") == 0
    assert tries.begin("label", "2", "here") == 2
    # Asked again, it is the same shard.
    assert tries.begin("label", "1", "here") == 2


def test_tries_of_a_shard_that_came_through_are_forgotten() -> None:
    tries = Tries(lambda: {"here"})
    for _ in range(5 * MAX_LOST):
        assert tries.begin("label", "1", "here") == 0
        tries.end("label", "1")


def test_tries_on_nodes_that_were_lost_do_not_count() -> None:
    living = {"head"}
    tries = Tries(lambda: living)
    for number in range(5 * MAX_LOST):
        node = f"spot {number}"
        living.add(node)
        assert tries.begin("label", "1", node) == 0
        living.remove(node)
    # That a node is lost may be known later than that its process is.
    for _ in range(MAX_LOST):
        assert tries.begin("label", "1", "head") == 0
    living.clear()
    assert tries.begin("label", "1", "elsewhere") == 0


def failures(tries: Tries, node: str, num: int) -> list[float | None]:
    return [tries.load_failed("label", node) for _ in range(num)]


def test_tries_to_load_end_where_none_succeeds_and_nothing_is_done() -> None:
    tries = Tries(lambda: {"here"})
    for _ in range(3):
        assert None not in failures(tries, "here", MAX_LOADS - 1)
        # Others of the pool could load, and work.
        tries.begin("label", "1", "here")
        tries.end("label", "1")
    assert tries.load_failed("align", "here") is not None
    assert failures(tries, "here", MAX_LOADS)[-1] is None
    tries.loaded("label", "here")
    assert None not in failures(tries, "here", MAX_LOADS - 1)
    # It could once, and cannot any more.
    assert tries.load_failed("label", "here") is None


def test_tries_to_load_do_not_end_for_a_node_that_is_broken() -> None:
    living = {"broken", "good", "spot"}
    tries = Tries(lambda: living)
    for node in ("broken", "good"):
        tries.loading("label", node)
    # The good one takes its time to load, and then with its first shard.
    assert None not in failures(tries, "broken", 5 * MAX_LOADS)
    tries.loaded("label", "good")
    assert None not in failures(tries, "broken", 5 * MAX_LOADS)
    tries.loading("label", "spot")
    living.remove("good")
    assert None not in failures(tries, "broken", MAX_LOADS)
    assert tries.load_failed("label", "spot") is not None
    assert None not in failures(tries, "broken", MAX_LOADS - 2)
    # Started there again, it has failed there all the same.
    tries.loading("label", "spot")
    assert tries.load_failed("label", "broken") is None


def test_tries_to_load_wait_longer_each_time_that_a_node_fails() -> None:
    tries = Tries(lambda: {"broken", "good"})
    tries.loaded("label", "good")
    assert failures(tries, "broken", 5) == [1, 4, 16, MAX_WAIT_SECONDS, MAX_WAIT_SECONDS]
    assert failures(tries, "good", 1) == [1]
    tries.loaded("label", "broken")
    assert failures(tries, "broken", 1000)[0] == 1
