"""A listener that remembers the events of runs."""

from collections.abc import Callable

from benchmarks.execution.events import Advanced, Event, Finished, Noticed, Started


class Heard:
    """Remembers events, and does something once a run has come to a certain step."""

    def __init__(self, act: Callable[[], None] | None = None, step: int = 0) -> None:
        self.lines: list[tuple[str, str, int]] = []
        self.notices: list[str] = []
        self.act, self.step = act, step

    def __call__(self, event: Event) -> None:
        match event:
            case Started(run, _, done):
                self.lines.append(("start", run, done))
            case Advanced(run, step, _, losses):
                assert losses
                self.lines.append(("advance", run, step))
                if self.act and step >= self.step:
                    act, self.act = self.act, None
                    act()
            case Noticed(_, text):
                self.notices.append(text)
            case Finished(run):
                self.lines.append(("finish", run, 0))
