"""How threads learn that a run has to end."""

from __future__ import annotations

import threading


class GiveUp(BaseException):
    """Ends the work on a place; nothing that expects the errors of an archive may catch it."""


class Halt:
    """Called once, by the first thing that ends a run; whatever takes time looks at it.

    Attributes:
        fault: what ends the run.
    """

    def __init__(self) -> None:
        self.fault: BaseException | None = None
        self._called = threading.Event()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        """Whether the run has to end."""
        return self._called.is_set()

    def call(self, fault: BaseException) -> None:
        """End the run; what comes after the first fault is a consequence of it, or no better."""
        with self._lock:
            if self.fault is None:
                self.fault = fault
                self._called.set()

    def go_on(self) -> None:
        """Before everything that takes time.

        Raises:
            GiveUp: the run has to end.
        """
        if self._called.is_set():
            raise GiveUp

    def sleep(self, seconds: float) -> None:
        """Wait, unless the run has to end.

        Raises:
            GiveUp: it has.
        """
        self._called.wait(seconds)
        self.go_on()
