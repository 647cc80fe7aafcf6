"""Every metric of Edgewise. Labels are closed sets: never an id, a URL or anything a caller can choose.

| name | type | labels | meaning |
|---|---|---|---|
| edgewise_build_info | gauge | version, service | 1 |
| edgewise_runs_started_total | counter | trigger | runs accepted, by what started them |
| edgewise_runs_finished_total | counter | status, trigger | runs that reached a terminal status |
| edgewise_run_duration_seconds | histogram | | from accepted to terminal |
| edgewise_steps_total | counter | component, outcome | attempts that ended, by how |
| edgewise_step_duration_seconds | histogram | component | of effects |
| edgewise_step_wait_seconds | histogram | | from ready to started |
| edgewise_batch_size | histogram | batch | units of one commit: ingest, advance, claim |
| edgewise_batch_seconds | histogram | batch | how long a commit took |
| edgewise_webhook_requests_total | counter | outcome | accepted, and other answers: `api/webhook_receiving.py` |
| edgewise_webhook_templates_failed_total | counter | operation | renders that failed or took long: dedupe, response |
| edgewise_deliveries_dropped_total | counter | | webhook requests that were not kept: over a bound, or lost |
| edgewise_dedupe_hits_total | counter | | triggers that were repeats: they were told the run of the first |
| edgewise_schedule_slots_total | counter | outcome | slots: fired, skipped, missed (at most 20 of a workflow at once) |
| edgewise_event_filters_total | counter | outcome | filters of events that were judged: matched, passed_over, failed |
| edgewise_schedule_lag_seconds | histogram | | from a slot to its run being accepted |
| edgewise_backlog_steps | gauge | priority, state | open steps that are ready: sent, unsent |
| edgewise_backlog_oldest_seconds | gauge | | age of the oldest step that is ready |
| edgewise_open_steps | gauge | status | rows of open_steps by status |
| edgewise_rescued_steps_total | counter | | steps given back because their worker's lease ran out |
| edgewise_resent_total | counter | reason | references sent again: lost, unsent, due |
| edgewise_lost_units_total | counter | | advances that found their step taken over |
| edgewise_incarnations_lost_total | counter | | times this worker found itself declared dead |
| edgewise_poison_steps_total | counter | | steps that ran in a process of their own, since workers died with them |
| edgewise_slots_in_use | gauge | | references this worker holds |
| edgewise_node_tests_total | counter | outcome | tests of single nodes: success, error, refused |
| edgewise_egress_total | counter | outcome | outbound calls: ok, refused, timeout, network, too_large, open (breaker) |
| edgewise_egress_hosts_total | counter | change | breakers of hosts: opened, closed; calls queued for a host's limit |
| edgewise_token_renewals_total | counter | outcome | tokens of authorizations: ok, revoked, refused, unavailable |
| edgewise_broker_errors_total | counter | operation | of the broker: enqueue, fetch, ack, requeue, inspect, rate |
| edgewise_duty_seconds | histogram | duty | how long a duty of the scheduler took |
| edgewise_duty_errors_total | counter | duty | duties that failed and will be tried again |
| edgewise_retention_days_total | counter | outcome | looks at a day past retention: dropped, rewritten, nothing, busy |
| edgewise_retention_runs_total | counter | | runs removed by their workflow's own `keep_runs_days` |
| edgewise_database_pool_in_use | gauge | | connections in use |
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

BUILD_INFO: Final = Gauge("edgewise_build_info", "1", ["version", "service"])
RUNS_STARTED: Final = Counter("edgewise_runs_started", "Runs accepted.", ["trigger"])
RUNS_FINISHED: Final = Counter("edgewise_runs_finished", "Runs that reached a terminal status.", ["status", "trigger"])
RUN_DURATION: Final = Histogram("edgewise_run_duration_seconds", "From accepted to terminal.", buckets=_FAST)
STEPS: Final = Counter("edgewise_steps", "Attempts that ended.", ["component", "outcome"])
STEP_DURATION: Final = Histogram("edgewise_step_duration_seconds", "Of effects.", ["component"], buckets=_FAST)
STEP_WAIT: Final = Histogram("edgewise_step_wait_seconds", "From ready to started.", buckets=_FAST)
BATCH_SIZE: Final = Histogram("edgewise_batch_size", "Units of one commit.", ["batch"], buckets=_SIZES)
BATCH_SECONDS: Final = Histogram("edgewise_batch_seconds", "How long a commit took.", ["batch"], buckets=_FAST)
WEBHOOK_REQUESTS: Final = Counter("edgewise_webhook_requests", "Webhook requests.", ["outcome"])
WEBHOOK_TEMPLATES_FAILED: Final = Counter(
    "edgewise_webhook_templates_failed", "Templates of webhooks that failed.", ["operation"]
)
DELIVERIES_DROPPED: Final = Counter("edgewise_deliveries_dropped", "Webhook requests that were not kept.")
DEDUPE_HITS: Final = Counter("edgewise_dedupe_hits", "Triggers that were repeats of an earlier one.")
EVENT_FILTERS: Final = Counter("edgewise_event_filters", "Filters of events.", ["outcome"])
SCHEDULE_SLOTS: Final = Counter("edgewise_schedule_slots", "Slots of schedules.", ["outcome"])
SCHEDULE_LAG: Final = Histogram("edgewise_schedule_lag_seconds", "From a slot to its run.", buckets=_FAST)
BACKLOG_STEPS: Final = Gauge("edgewise_backlog_steps", "Open steps that are ready.", ["priority", "state"])
BACKLOG_OLDEST: Final = Gauge("edgewise_backlog_oldest_seconds", "Age of the oldest step that is ready.")
OPEN_STEPS: Final = Gauge("edgewise_open_steps", "Rows of open_steps by status.", ["status"])
RESCUED: Final = Counter("edgewise_rescued_steps", "Steps given back because a lease ran out.")
RESENT: Final = Counter("edgewise_resent", "References sent again.", ["reason"])
LOST_UNITS: Final = Counter("edgewise_lost_units", "Advances that found their step taken over.")
INCARNATIONS_LOST: Final = Counter("edgewise_incarnations_lost", "Times this worker found itself declared dead.")
POISON_STEPS: Final = Counter("edgewise_poison_steps", "Steps that ran in a process of their own.")
SLOTS_IN_USE: Final = Gauge("edgewise_slots_in_use", "References this worker holds.")
NODE_TESTS: Final = Counter("edgewise_node_tests", "Tests of single nodes.", ["outcome"])
EGRESS: Final = Counter("edgewise_egress", "Outbound requests.", ["outcome"])
EGRESS_HOSTS: Final = Counter("edgewise_egress_hosts", "What gates of hosts did.", ["change"])
TOKEN_RENEWALS: Final = Counter("edgewise_token_renewals", "Tokens of authorizations.", ["outcome"])
BROKER_ERRORS: Final = Counter("edgewise_broker_errors", "Failures of the broker.", ["operation"])
DUTY_SECONDS: Final = Histogram("edgewise_duty_seconds", "How long a duty took.", ["duty"], buckets=_FAST)
DUTY_ERRORS: Final = Counter("edgewise_duty_errors", "Duties that failed.", ["duty"])
RETENTION_DAYS: Final = Counter("edgewise_retention_days", "Looks at a day past retention.", ["outcome"])
RETENTION_RUNS: Final = Counter("edgewise_retention_runs", "Runs removed by their workflow's own setting.")
POOL_IN_USE: Final = Gauge("edgewise_database_pool_in_use", "Connections in use.")


def announce_build(service: str) -> None:
    """Set ``edgewise_build_info`` for this process."""
    try:
        release = version("edgewise")
    except PackageNotFoundError:
        release = "unknown"
    BUILD_INFO.labels(release, service).set(1)
