"""From options to a suite: which one is meant, and what the options change of it."""

import argparse

from benchmarks.config.overrides import apply_settings, check_code, select_models, set_backbone
from benchmarks.config.suite import Suite, build_suite, find_suite, list_suites, read_toml
from benchmarks.core.devices import count_processes
from benchmarks.core.errors import BadInput
from benchmarks.core.text import safe

DIRECT = (
    *("dataset", "source", "image_size", "channels"),
    *("seeds", "samples", "extractor", "views", "threads", "shards"),
)
"""Options that replace the suite's key of the same name."""

OF_THE_DATA = ("source", "published")
"""Keys of a suite that mean nothing on another data set."""


def choose_suite(options: argparse.Namespace) -> str:
    """Return the suite that is named, or else the shipped one for the data set.

    That has the data set's name, or is `folder` for all other images, `digits` for points.
    """
    if options.suite or options.dataset is None:
        return options.suite or "digits"
    from benchmarks.data import is_points

    if options.dataset in list_suites():
        return str(options.dataset)
    return "digits" if is_points(options.dataset) else "folder"


def read_options(options: argparse.Namespace) -> tuple[str, Suite, str, list[str]]:
    """Return the results' name, the suite as the options have changed it, and the place of both.

    Last come lines on what was chosen without being named.

    Raises:
        BadInput: an option, a name or a value in the suite's file is wrong.
    """
    name, path = find_suite(choose_suite(options))
    table = original = read_toml(path)
    build_suite(table, path.name)
    notes = []
    if options.dataset and not options.suite:
        notes += [f"suite {name}: {table['summary']} (name another as the first argument)"]
    changed = options.dataset not in {None, table.get("dataset")}
    if changed:
        table = {key: value for key, value in table.items() if key not in OF_THE_DATA}
    for key in DIRECT:
        if (value := getattr(options, key)) is not None:
            table = {**table, key: value}
            shown = ",".join(value) if isinstance(value, list) else value
            build_suite(table, f"--{key.replace('_', '-')} {shown}")
    names = [part.strip() for part in (options.models or "").split(",")]
    if options.models is not None:
        table = select_models(table, names)
    check_code(table, names, path.name)
    if options.backbone is not None:
        table, kept = set_backbone(table, options.backbone)
        end = "has no such network body and keeps its own"
        notes += [f"--backbone {options.backbone}: {name} {end}" for name in kept]
    table = apply_settings(table, options.set)
    if options.steps is not None:
        batch = table.get("batch", Suite.model_fields["batch"].default)
        table = {**table, "images": options.steps * batch}
    place = path.name if table == original else f"{path.name} with options"
    suite = build_suite(table, place)
    if suite.dataset == "folder:":
        raise BadInput(f"{place}: of which pictures? add --dataset folder:PATH")
    own = safe(suite.dataset.removeprefix(f"{name}:"))
    return (f"{name}-{own}" if changed else name), suite, place, notes


def check_options(options: argparse.Namespace, suite: Suite, place: str) -> None:
    """Refuse options that do not go with the suite or with each other."""
    if suite.shards != count_processes():
        raise BadInput(
            f"{place}: shards: {suite.shards} takes as many processes, not {count_processes()}: "
            f"torchrun --nproc-per-node {suite.shards} -m benchmarks.run {choose_suite(options)}"
        )
    if options.address and options.engine != "ray":
        raise BadInput(f"--address: the engine is {options.engine!r}; add --engine ray")


def share_out(options: argparse.Namespace) -> list[str]:
    """Set one shard for each process of `torchrun`, unless the suite or the user sets their number.

    Options that make no sense for several processes are refused.

    Returns:
        What the command line lacks to say so.
    """
    processes = count_processes()
    if processes == 1:
        return []
    if options.engine == "ray" or (options.jobs or 1) > 1:
        wrong = "--engine ray" if options.engine == "ray" else f"--jobs {options.jobs}"
        raise BadInput(f"{wrong}: all processes of torchrun compute one run together; leave it out")
    if options.device.startswith("cuda:"):
        raise BadInput(f"--device {options.device}: each process of torchrun has its own; use cuda")
    if options.shards or "shards" in read_toml(find_suite(choose_suite(options))[1]):
        return []
    options.shards = processes
    return ["--shards", str(processes)]
