"""Which shards are given up: those that kill, not those that were on nodes that were lost."""

from __future__ import annotations

from xner.engine.tries import MAX_LOADS, MAX_LOST, Tries


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


def test_tries_to_load_end_where_none_succeeds_and_nothing_is_done() -> None:
    tries = Tries(lambda: {"here"})
    for _ in range(3):
        failed = [tries.load_failed("label") for _ in range(MAX_LOADS - 1)]
        assert failed == [False] * (MAX_LOADS - 1)
        # Others of the pool could load, and work.
        tries.begin("label", "1", "here")
        tries.end("label", "1")
    assert not tries.load_failed("align")
    assert [tries.load_failed("label") for _ in range(MAX_LOADS)][-1]
