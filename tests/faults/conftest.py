"""What the tests of faults share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Command, Disk


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all that needs Linux's /proc elsewhere."""
    if not Path("/proc/self/cmdline").exists():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs Linux's /proc"))


@pytest.fixture(scope="session")
def scores(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give the scores of the small suite, undisturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "results"
    code, out, error = Command(folder).end()
    assert code == 0, out + error
    return (folder / "scores.csv").read_bytes()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mount a small disk in memory, where the system lets this user."""
    try:
        disk = Disk(tmp_path, "64m")
    except (FileNotFoundError, OSError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    yield disk
    disk.release()
