"""The metrics and the table that describes them."""

import re

import pytest
from prometheus_client.metrics import MetricWrapperBase

from shared import metrics

METRICS = {
    name: metric
    for metric in vars(metrics).values()
    if isinstance(metric, MetricWrapperBase)
    for name in [metric._name + ("_total" if metric._type == "counter" else "")]
}
TABLE = {
    match["name"]: (match["type"], tuple(re.findall(r"\w+", match["labels"])), match["meaning"])
    for match in re.finditer(
        r"^\| (?P<name>edgewise_\w+) \| (?P<type>\w+) \|(?P<labels>[^|]*)\| (?P<meaning>[^|]+) \|$",
        metrics.__doc__ or "",
        re.MULTILINE,
    )
}


def test_the_table_lists_every_metric():
    """And nothing else."""
    assert sorted(TABLE) == sorted(METRICS)
    assert len(TABLE) > 20


@pytest.mark.parametrize("name", sorted(METRICS))
def test_the_table_tells_type_and_labels(name):
    """As they are registered."""
    assert TABLE[name][:2] == (METRICS[name]._type, METRICS[name]._labelnames)


def test_no_label_is_an_id_or_an_address():
    """Labels are closed sets: their names are these."""
    labels = {label for metric in METRICS.values() for label in metric._labelnames}
    closed = {"version", "service", "trigger", "status", "component", "outcome", "change", "batch", "priority", "state"}
    assert labels == closed | {"reason", "operation", "duty"}


def test_this_build_announces_itself():
    """One series, with the release and the service."""
    metrics.announce_build("test")
    (sample,) = [sample for sample in metrics.BUILD_INFO.collect()[0].samples if sample.labels["service"] == "test"]
    assert sample.value == 1
    assert sample.labels["version"]
