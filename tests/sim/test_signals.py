"""A signal that comes while something is written is neither lost nor too early."""

from __future__ import annotations

import signal
import threading
import zipfile
from collections.abc import Iterator

import pytest

from algo.nets.saving import saved
from algo.support.zipped import zipped
from sim.signals import signals_wait


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt; a shell has its background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


class LosesErrors(type):
    """A type that a signal meets where `copyreg` ignores every exception."""

    def __setattr__(cls, name: str, value: object) -> None:
        interrupt()
        super().__setattr__(name, value)


class Lost(metaclass=LosesErrors):
    def __init__(self) -> None:
        self.content = 0


def test_a_signal_while_a_state_is_saved_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt):
        saved(Lost())


def test_a_signal_in_the_finaliser_of_an_archive_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def finaliser(archive: zipfile.ZipFile) -> None:
        interrupt()
        archive.close()

    monkeypatch.setattr(zipfile.ZipFile, "__del__", finaliser)
    with pytest.raises(KeyboardInterrupt):
        zipped({"a": b"some"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    done: list[str] = []

    def handler(number: int, frame: object) -> None:
        done.append("handled")

    before = signal.signal(number, handler)
    try:
        with signals_wait():
            signal.raise_signal(number)
            done.append("written")
        assert done == ["written", "handled"] and signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_wait():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_is_let_through() -> None:
    done = []

    def work() -> None:
        with signals_wait():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGINT)]
