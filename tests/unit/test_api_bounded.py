"""The cache that forgets."""

from api.bounded import BoundedCache


def test_entries_go_by_age() -> None:
    """An entry is there until its time is over, and a shorter time of its own counts."""
    now = [0.0]
    cache: BoundedCache[str, int] = BoundedCache(10, 5.0, lambda: now[0])
    cache.put("a", 1)
    cache.put("b", 2, seconds=2.0)
    cache.put("c", 3, seconds=50.0)
    now[0] = 2.0
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    now[0] = 5.0
    assert (cache.get("a"), cache.get("c"), len(cache)) == (None, None, 0)


def test_an_entry_without_time_left_is_never_given() -> None:
    """What is over when it comes, such as a token in its leeway's last moment, is not kept."""
    cache: BoundedCache[str, int] = BoundedCache(10, 5.0, lambda: 0.0)
    cache.put("a", 1, seconds=0.0)
    assert cache.get("a") is None


def test_entries_go_by_number() -> None:
    """Past the size the oldest entry goes; putting one again makes it the newest."""
    cache: BoundedCache[int, int] = BoundedCache(2, 5.0)
    for key in (1, 2, 1, 3):
        cache.put(key, key * 10)
    assert (cache.get(1), cache.get(2), cache.get(3)) == (10, None, 30)
    cache.drop(1)
    cache.drop(99)
    assert cache.get(1) is None
