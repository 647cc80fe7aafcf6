"""The workloads of docs/performance.md and their targets. Each measures itself once, its floor in the same minute."""

from tests.bench import calling, history, pure, schedules, standing, synced
from tests.bench.driving import Outcome, drive, prepare
from tests.bench.figures import Figure, Workload

__all__ = ["WORKLOADS", "Outcome", "drive", "prepare"]

#: In the order they are run: what idles before what loads, and the restart last.
WORKLOADS = (
    Workload(
        "idle system",
        (
            Figure(7, "idle: request to completed p50", "ms", 10, 5, floor="a bare 202 and two commits"),
            Figure(7, "idle: request to completed p99", "ms", 40, 20),
            Figure(7, "idle: CPU of all processes", "%", 2, 0.5),
        ),
        standing.idle,
    ),
    Workload(
        "pure runs, 64 connections",
        (
            Figure(
                1, "webhook, condition, transform", "runs/s", 4000, 8000, higher=True,
                floor="the lesser of rows and bare 202s",
            ),
            Figure(15, "runs per commit", "runs", 20, 100, higher=True),
            Figure(15, "WAL per run", "KB", 3, 1.5, floor="the same rows by bare asyncpg"),
        ),
        pure.saturated,
    ),
    Workload(
        "pure runs at 1,000/s",
        (
            Figure(2, "accepted at 1,000/s p50", "ms", 4, 2, floor="a bare 202 at the same rate"),
            Figure(2, "accepted at 1,000/s p99", "ms", 12, 6, floor="a bare 202 at the same rate"),
            Figure(2, "completed at 1,000/s p50", "ms", 12, 5),
            Figure(2, "completed at 1,000/s p99", "ms", 40, 15),
        ),
        pure.fixed_rate,
    ),
    Workload(
        "requests that wait, 50/s",
        (
            Figure(16, "synchronous at 50/s p50", "ms", 15, 6, floor="a bare 202 and two commits"),
            Figure(16, "synchronous at 50/s p99", "ms", 60, 20),
        ),
        synced.fixed_rate,
    ),
    Workload(
        "10 transforms",
        (Figure(3, "chain of 10 pure nodes", "steps/s", 25_000, 50_000, higher=True, floor="the same rows"),),
        pure.chain,
    ),
    Workload(
        "5 calls, 200 in flight",
        (Figure(4, "chain of 5 HTTP nodes", "steps/s", 5000, 8000, higher=True, floor="bare calls, 200 at once"),),
        calling.chain,
    ),
    Workload(
        "1,000 branches",
        (Figure(5, "1 to 1,000 HTTP branches to join", "s", 2, 0.5, floor="bare calls, 200 at once"),),
        calling.fan,
    ),
    Workload(
        "10,000 items",
        (
            Figure(
                6, "items of a transform and a call, 100 at once", "items/s", 2000, 4000, higher=True,
                floor="bare calls, 100 at once",
            ),
        ),
        calling.items,
    ),
    Workload(
        "40 durable steps",
        (Figure(8, "40 steps that wait for durability", "s", 0.4, 0.15, floor="40 bare calls and 40 commits"),),
        calling.durable_steps,
    ),
    Workload(
        "160 KB payloads",
        (
            Figure(
                12, "160 KB payloads against 1 KB", "%", 25, 50, higher=True,
                floor="the lesser of rows and bare 202s, at each size",
            ),
        ),
        pure.large_payloads,
    ),
    Workload(
        "schedules due at once",
        (
            Figure(
                9, "schedules due at once, the last one started after", "s", 3, 1,
                floor="rows of such runs by bare asyncpg",
            ),
        ),
        schedules.storm,
    ),
    Workload(
        "a past of finished runs",
        (Figure(10, "finished runs in the database, against none", "%", 90, 98, higher=True),),
        history.against_a_past,
    ),
    Workload(
        "memory",
        tuple(Figure(13, f"{kind}, resident after start", "MB", 90, 60) for kind in standing.KINDS)
        + tuple(Figure(13, f"{kind}, growth with steps", "%", 10, 3) for kind in standing.KINDS),
        standing.memory,
    ),
    Workload("restart", (Figure(14, "start to first run", "s", 4, 2),), standing.restart),
)  # fmt: skip
