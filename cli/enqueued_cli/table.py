"""A snapshot as a table for people: plain text, aligned, within 100 columns where names are short."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from enqueued.stats import LOADING, DaemonStats, GroupStats, MemberStats, StreamStats

INDENT = "  "


@dataclass(frozen=True)
class Rates:
    """What a stream did in a span of time, and how long that span was."""

    made: int
    delivered: int
    span_s: float

    def per_second(self, count: int) -> float:
        """A count of this span as a rate; 0 for a span of no length."""
        return count / self.span_s if self.span_s > 0 else 0.0


def table(now: DaemonStats, before: DaemonStats | None = None) -> str:
    """The table of one snapshot; rates are since `before`, or since the daemon started."""
    if before is not None and (before.incarnation != now.incarnation or before.uptime_s >= now.uptime_s):
        before = None  # another daemon answered, or the same snapshot came twice
    lines = _head(now, before)
    for stream in now.streams:
        lines += ["", *_stream(stream, _rates(stream, now, before)), *_groups(stream)]
    return "\n".join(lines)


def _head(now: DaemonStats, before: DaemonStats | None) -> list[str]:
    span = now.uptime_s - (before.uptime_s if before else 0.0)
    cpu = now.cpu_s - (before.cpu_s if before else 0.0)
    parts = [
        f"enqueued {now.version}",
        now.name,
        f"pid {now.pid}",
        f"up {duration(now.uptime_s)}",
        count(now.clients, "client"),
        f"CPU {100 * cpu / span if span > 0 else 0.0:.1f} %",
        f"memory {size(now.rss_bytes)}",
    ]
    if now.ignored:
        parts.append(f"{count(now.ignored, 'message')} ignored")
    return ["  ".join(parts), *(INDENT + endpoint for endpoint in now.endpoints)]


def _rates(stream: StreamStats, now: DaemonStats, before: DaemonStats | None) -> Rates:
    if before is not None:
        for earlier in before.streams:
            if earlier.name == stream.name:
                made, delivered = stream.made - earlier.made, stream.delivered - earlier.delivered
                return Rates(made, delivered, now.uptime_s - before.uptime_s)
    return Rates(stream.made, stream.delivered, now.uptime_s)


def _stream(stream: StreamStats, rates: Rates) -> list[str]:
    length = "endless" if stream.length is None else f"{count(stream.length, 'batch')} per epoch"
    facts = [stream.kind, "loading"] if stream.verdict == LOADING else [stream.kind, length]
    if stream.batch_bytes:
        facts.append(f"{size(stream.batch_bytes)} each")
    busy = sum(worker.state == "busy" for worker in stream.workers)
    delivered = rates.per_second(rates.delivered)
    columns = [
        ("WORKERS", f"{busy}/{len(stream.workers)} busy"),
        ("QUEUE", f"{stream.ready}/{stream.max_queue_size} ready"),
        ("MADE", f"{rate(rates.per_second(rates.made))}/s"),
        ("DELIVERED", f"{rate(delivered)}/s"),
        ("BYTES", f"{delivered * stream.batch_bytes / 1e9:.2f} GB/s"),
        ("PER MAKE", f"{stream.delivered / stream.made:.1f}" if stream.made else "-"),
        ("ONE MAKE", duration(stream.make_s) if stream.made else "-"),
        ("SLOTS", size(stream.slot_bytes)),
    ]
    lines = [
        f"{stream.name}  {stream.source}  ({', '.join(facts)})",
        *(INDENT + line for line in aligned([[title for title, _ in columns], [value for _, value in columns]])),
    ]
    troubles = [f"{count(stream.failed, 'batch')} failed"] if stream.failed else []
    if stream.skipped:
        troubles.append(f"{count(stream.skipped, 'batch')} skipped")
    if stream.worker_restarts:
        troubles.append(f"{count(stream.worker_restarts, 'worker')} restarted")
    others = Counter(worker.state for worker in stream.workers if worker.state not in ("busy", "idle"))
    troubles += [f"{count(number, 'worker')} {state}" for state, number in others.items()]
    if troubles:
        lines.append(INDENT + ", ".join(troubles))
    return [*lines, f"{INDENT}=> {stream.verdict}"] if stream.verdict else lines


def _groups(stream: StreamStats) -> list[str]:
    if not stream.groups:
        return []  # the verdict says that there is no client
    rows = [["GROUP", "AT", "LAG", "DELIVERED", "MEMBER", "BY", "HOLDS", "CREDIT", "NOW"]]
    for group in stream.groups:
        rows += _group(group)
    held_up = [f"{label(group)} waits for {group.waits_for}" for group in stream.groups if group.waits_for]
    return [INDENT + line for line in (*aligned(rows), *held_up)]


def _group(group: GroupStats) -> list[list[str]]:
    delivered = thousands(group.delivered) + (f" (+{group.redelivered} again)" if group.redelivered else "")
    first = [label(group), f"{group.epoch}:{group.index}", lag(group.lag), delivered]
    if not group.members:
        return [[*first, "-", "", "", "", "no member is connected"]]
    rows = []
    for member in group.members:
        rows.append([*first, *_member(member, group)])
        first = [""] * len(first)
    return rows


def label(group: GroupStats) -> str:
    """What a group is called, and which of its ranks this is."""
    if group.kind == "ranks":
        return f"{group.name} {group.rank}/{group.world_size}"
    return "(private)" if group.private else group.name


def lag(batches: int) -> str:
    """How far a group is behind the foremost; a dash where that is not known."""
    return thousands(batches) if batches >= 0 else "-"


def _member(member: MemberStats, group: GroupStats) -> list[str]:
    if member.waiting_s > 0:
        doing = f"waits {duration(member.waiting_s)} for {group.epoch}:{group.index}"
    else:
        doing = f"works on {count(member.leases, 'batch')}" if member.leases else "idle"
    who = f"{member.name} {member.host}:{member.pid}"
    smaller = f" ÷{member.compression:.1f}" if member.compression > 1 else ""
    return [who, member.transport + smaller, str(member.leases), str(member.credit), doing]


def aligned(rows: list[list[str]]) -> list[str]:
    """The rows as lines with columns of equal width, without blanks at the end."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """A span of time in the unit that suits it: ``340 µs``, ``12.5 ms``, ``3.4 s``, ``1 h 12 min``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60)} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """A number of bytes in the binary unit that suits it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def rate(value: float) -> str:
    """A rate with as many digits as one reads."""
    return thousands(round(value)) if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def thousands(value: int) -> str:
    """A count with narrow gaps between its thousands."""
    return f"{value:,}".replace(",", " ")


def count(value: int, noun: str) -> str:
    """A count with its noun: ``1 client``, ``3 clients``, ``2 batches``."""
    plural = "es" if noun.endswith("ch") else "s"
    return f"{thousands(value)} {noun}{'' if value == 1 else plural}"
