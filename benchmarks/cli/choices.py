"""What `--list` prints: everything that can be named on the command line."""

from benchmarks.config import registry
from benchmarks.config.suite import list_suites
from benchmarks.data import list_datasets


def describe_choices() -> str:
    """List the suites, data sets, models, metrics, extractors and faults, a line each."""
    sections = {
        "suites": list_suites(),
        "data sets": list_datasets(),
        "models": {name: entry.summary for name, entry in registry.list_models().items()},
        "metrics": {name: entry.summary for name, entry in registry.list_metrics().items()},
        "extractors": {name: e.summary for name, e in registry.list_extractors().items()},
        "faults of the audit": {name: e.summary for name, e in registry.list_faults().items()},
    }
    lines = []
    for title, entries in sections.items():
        lines += [title, *(f"  {name:<20} {summary}" for name, summary in entries.items()), ""]
    return "\n".join(lines).rstrip()
