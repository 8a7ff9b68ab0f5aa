"""The daemon's life: what it opens, in which order it stops, and the loop in between."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import resource
import secrets
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import zmq

from enqueued import __version__
from enqueued.errors import ConfigError, EnqueuedError
from enqueued.pool.feed import Feed
from enqueued.pool.memory import Memory
from enqueued.pool.options import PoolOptions
from enqueued.pool.shares import Shares
from enqueued.server.control import Commands, Control
from enqueued.server.endpoint import Endpoint
from enqueued.server.handoff import HandOff
from enqueued.server.hub import Hub
from enqueued.server.lock import Lock
from enqueued.server.loop import Loop
from enqueued.server.notify import Notifier
from enqueued.server.press import Press
from enqueued.server.recorder import Recorder
from enqueued.server.state import StateFile, default_path
from enqueued.settings import Settings, StreamSettings
from enqueued.source.spec import SourceSpec
from enqueued.stats import DaemonStats
from enqueued.wire.control import CONTROL
from enqueued.wire.places import HAND_OFF, Place, check_length, parse, place_to_bind

log = logging.getLogger("enqueued.server")

_TURN_S = 0.1
_TICK_S = 0.01
"""What need not be looked at in every turn is looked at so often."""
_PAGE = os.sysconf("SC_PAGESIZE")
_SPARE_FILES = 100
_FILES_PER_CLIENT = 4
_LINE_S = 1.0
"""How long the start-up line waits for the first batch, so that it can tell its size."""


class Daemon:
    """One daemon. `run` serves until a signal, or until something breaks, which it raises."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._notifier = Notifier(environ)
        self._loop = Loop()
        self._memory = Memory(settings.daemon.max_queue_bytes)
        self._shares = Shares()
        self._press = Press(self._loop)
        self._began = self._ticked = time.monotonic()
        self._incarnation = secrets.token_hex(8)
        self._signals: list[int] = []
        self._hung_up = False
        """Whether SIGHUP has come and nothing was done about it yet."""
        self._terminal = _has_terminal()
        self._failure: EnqueuedError | None = None
        self._feeds = {name: self._feed(name, stream) for name, stream in settings.streams.items()}
        self._hub = Hub(
            self._feeds,
            self._memory.table,
            incarnation=self._incarnation,
            max_clients=settings.daemon.max_clients,
            press=self._press,
            snapshot=self.stats,
        )
        self._commands = Commands(self._feeds, self._hub)
        self._endpoints: list[Endpoint] = []
        self._place = self._find_place(environ)
        self._environ = environ
        self._recorder: Recorder
        self._undo: list[Callable[[], None]] = []

    def _feed(self, name: str, stream: StreamSettings) -> Feed:
        options = PoolOptions(
            workers=stream.worker_count,
            threads=stream.pool == "thread" and stream.kind != "generator",
            start_method=stream.start_method,
            max_generations=stream.max_generations,
            max_queue_size=stream.max_queue_size,
            load_timeout=stream.load_timeout,
            make_timeout=stream.make_timeout,
        )
        return Feed(
            name,
            SourceSpec(**stream.spec_fields()),
            options,
            reactor=self._loop,
            memory=self._memory,
            shares=self._shares,
            lag_timeout=stream.lag_timeout,
            reorder_window=stream.reorder_window,
            retries=stream.retries,
            skips=stream.skips,
            epochs=stream.epochs,
            reload=stream.reload,
            on_broken=self._break,
        )

    def _find_place(self, environ: Mapping[str, str]) -> Place:
        daemon = self._settings.daemon
        place = parse(daemon.endpoint) if daemon.endpoint else place_to_bind(daemon.name, environ)
        if place.path is None:
            raise ConfigError(f"--endpoint is an ipc:// address, and {place.endpoint} is none; give it to --bind")
        check_length(place.path)
        return place

    def _break(self, error: EnqueuedError) -> None:
        if self._failure is None:
            self._failure = error

    # -- life ---------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Open, serve, stop; the exit code. Raises what broke it."""
        try:
            self._open()
            self._serve()
            if self._failure is None:
                self._drain()
            code = 0 if len(self._signals) < 2 else 1
        finally:
            for undo in reversed(self._undo):
                undo()
        if self._failure is not None:
            raise self._failure
        return code

    def _open(self) -> None:
        """Take the name before anything else, and let clients in before the source is loaded: they wait for it."""
        self._undo.append(self._loop.close)
        path = self._place.path or ""
        daemon = self._settings.daemon
        self._memory.most_segments = self._count_files()
        try:
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            self._undo.append(Lock(path).release)
        except OSError as error:
            raise ConfigError(f"{path} cannot be used: {error.strerror}") from None
        _spare(path, path + HAND_OFF, path + CONTROL)
        state_file = daemon.state_file or default_path(daemon.name, path, self._environ)
        if state_file != default_path(daemon.name, path, {}):  # else the socket's lock is its lock
            with contextlib.suppress(OSError):  # where nothing can be written, nobody else writes either
                self._undo.append(Lock(state_file, "keeps its state in", "--state-file").release)
        state = StateFile(state_file)
        self._recorder = Recorder(state, self._feeds, self._hub.stable)
        self._undo.append(self._recorder.close)
        self._recorder.load()
        self._watch_signals()
        self._undo.append(self._press.close)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._undo.append(context.term)
        self._bind(context, self._place.endpoint)
        os.chmod(path, daemon.socket_permissions)
        self._undo.append(lambda: Path(path).unlink(missing_ok=True))
        for address in daemon.bind:
            self._bind(context, address)
        self._hub.handoff = HandOff(
            path + HAND_OFF,
            daemon.socket_permissions,
            reactor=self._loop,
            table=self._memory.table,
            most=2 * daemon.max_clients,
            on_gone=self._hub.peer_gone,
        )
        self._undo.append(self._hub.handoff.close)
        self._undo.append(Control(path + CONTROL, reactor=self._loop, obey=self._commands.obey).close)
        self._undo.append(self._memory.table.close)
        for feed in self._feeds.values():
            feed.start()
            self._undo.append(feed.kill)

    def _bind(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        endpoint = Endpoint(context, address, self._hub.connection_lost)
        self._undo.append(endpoint.close)
        endpoint.watch(self._loop, lambda: self._hub.hear(endpoint))
        self._endpoints.append(endpoint)

    def _count_files(self) -> int:
        """How many segments there may be: each takes a descriptor, as clients do.

        ZeroMQ aborts, or spins, where a process runs out of them: better to say so at the start.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 2 * _SPARE_FILES:
            raise ConfigError(f"only {hard} files may be open (ulimit -n), and the daemon needs {2 * _SPARE_FILES}")
        others = _FILES_PER_CLIENT * self._settings.daemon.max_clients + _SPARE_FILES
        queues = sum(stream.max_queue_size + 2 * stream.worker_count for stream in self._settings.streams.values())
        files = max(soft, min(hard, others + queues))
        if soft < files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
        return max(files // 4, files - others)

    def _watch_signals(self) -> None:
        """Signals only record; the loop acts."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._record)  # for good: one that comes while it closes must not end it halfway
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup leaves it
            signal.signal(signal.SIGHUP, self._record_hangup)
        faulthandler.register(signal.SIGUSR1)

        def wake() -> None:
            ours.recv(64)

        self._loop.watch(ours.fileno(), wake)

        def undo() -> None:
            signal.set_wakeup_fd(-1)
            self._loop.unwatch(ours.fileno())
            ours.close()
            theirs.close()

        self._undo.append(undo)

    def _record(self, number: int, frame: object) -> None:
        self._signals.append(number)

    def _record_hangup(self, number: int, frame: object) -> None:
        self._hung_up = True

    def _hang_up(self) -> None:
        """SIGHUP: take new code; but a daemon whose terminal was closed stops, for nobody would find it again."""
        self._hung_up = False
        if self._terminal and not _has_terminal():
            log.info("the terminal was closed")
            self._signals.append(signal.SIGHUP)
        else:
            log.info("SIGHUP: sources are loaded again")
            self._commands.reload_all()

    def _turn(self) -> None:
        self._loop.turn(_TURN_S)
        now = time.monotonic()
        self._hub.settle()  # first: what comes free is given out in this turn
        self._hub.deliver()
        for feed in self._feeds.values():
            feed.step(now)
        self._hub.deliver()
        if now - self._ticked >= _TICK_S:
            self._ticked = now
            self._hub.tick(now)
            self._recorder.tick(now)
            self._notifier.ping(now)

    def _serve(self) -> None:
        told = ready = False
        ready_at = 0.0
        while not self._signals and self._failure is None:
            self._turn()
            if self._hung_up:
                self._hang_up()
            if not ready and all(feed.ready for feed in self._feeds.values()):
                ready, ready_at = True, time.monotonic()
                self._notifier.tell(READY="1", STATUS=self._line(), MAINPID=str(os.getpid()))
            if (
                ready
                and not told
                and (all(feed.header for feed in self._feeds.values()) or time.monotonic() - ready_at > _LINE_S)
            ):
                told = True
                sys.stderr.write(f"enqueued {__version__} {self._line()} — Ctrl-C to drain\n")
                sys.stderr.flush()

    def _drain(self) -> None:
        """Stop in order: let nobody in, make nothing more, let groups acknowledge, then say goodbye.

        What is opened last is closed first (`_undo`): pools before the memory that they wrote, the lock after all else,
        so that a successor finds everything gone.
        """
        self._notifier.tell(STOPPING="1")
        log.info("draining; a second signal stops at once")
        self._hub.closing = "the daemon is stopping"
        for feed in self._feeds.values():
            feed.close()
        deadline = time.monotonic() + self._settings.daemon.graceful_timeout
        while len(self._signals) < 2 and time.monotonic() < deadline:
            if self._hub.settled and all(feed.closed for feed in self._feeds.values()):
                break
            self._turn()
        self._hub.say_goodbye(self._hub.closing)

    # -- telling ------------------------------------------------------------------------------------------------

    def _line(self) -> str:
        several = len(self._feeds) > 1
        streams = ", ".join(
            f"{name}={feed.headline}" if several else feed.headline for name, feed in self._feeds.items()
        )
        addresses = ", ".join([endpoint.address for endpoint in self._endpoints])
        return f"serving {streams} on {addresses}"

    def stats(self) -> DaemonStats:
        """A snapshot."""
        return DaemonStats(
            version=__version__,
            name=self._settings.daemon.name,
            pid=os.getpid(),
            incarnation=self._incarnation,
            uptime_s=time.monotonic() - self._began,
            cpu_s=time.process_time(),
            rss_bytes=int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE,
            clients=len(self._hub),
            ignored=self._hub.ignored + sum(feed.stream.ignored for feed in self._feeds.values() if feed.ready),
            endpoints=tuple(endpoint.address for endpoint in self._endpoints),
            streams=tuple(feed.stats(self._hub.describe) for feed in self._feeds.values()),
            messages=sum(endpoint.messages for endpoint in self._endpoints),
        )


def serve(settings: Settings) -> int:
    """Serve until a signal; the exit code. Raises an `EnqueuedError` with an exit code of its own."""
    _log(settings.daemon.log_level)
    for remark in settings.remarks:
        log.warning("%s", remark)
    return Daemon(settings, os.environ).run()


def _has_terminal() -> bool:
    """Whether there is a terminal whose end would be the end of this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _spare(*paths: str) -> None:
    """Nobody loses a file by naming it as a socket: ZeroMQ would remove whatever is there."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise ConfigError(f"{path} is there already and is no socket; remove it, or give another --endpoint")


def _log(level: str) -> None:
    """Log on standard error: with the time, or with journald's priorities where that reads it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JournalFormatter() if os.environ.get("JOURNAL_STREAM") else _Formatter())
    root = logging.getLogger("enqueued")
    root.handlers = [handler]
    root.setLevel(level.upper())
    root.propagate = False


class _Formatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")


class _JournalFormatter(logging.Formatter):
    """sd-daemon(3): the priority in angle brackets before each line."""

    _PRIORITIES = ((logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"))

    def format(self, record: logging.LogRecord) -> str:
        priority = next((text for level, text in self._PRIORITIES if record.levelno >= level), "<7>")
        return "\n".join(priority + line for line in record.getMessage().splitlines())
