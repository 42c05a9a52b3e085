#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""table: the results of tools/bench for people.

usage: table.py [--markdown] [--write README] RESULTS.json

Without an option every measurement is printed, a row a stick and a column a contender, and then
the goals, kept or missed. --markdown prints the one table of the README: a row a contender, a
column a stick; --write puts it between the README's two marks.

A row is (title, workload, value, whether more is better). A goal is (what, workload, ours, theirs,
value, factor, at least or at most, sticks): ours over theirs, or the value itself where theirs is
None; "qcow2" is the best of its settings. What was not measured is left out.
"""
import argparse
import json
import math
import re
import sys

GIB = float(1 << 30)
STICKS = ["P0", "P1", "P2", "P3", "P4", "P5", "P6"]
QCOW2 = ["qcow2", "qcow2-4k", "qcow2-sub", "qcow2-lazy"]
LETTERS = {"qcow2": "d", "qcow2-4k": "4", "qcow2-sub": "s", "qcow2-lazy": "l"}
NAN = float("nan")


def number(line, *path):
    """A number inside a line; NAN where it was not measured."""
    for key in path:
        line = line.get(key) if isinstance(line, dict) else None
    return float(line) if isinstance(line, (int, float)) else NAN


# --- values of a line ---

def iops(line):
    # What a log would do: sixteen random writes and a flush are one append.
    return number(line, "load", "iops") * (16 if line["workload"] == "append" else 1)


def busy(value):
    """By the stick's own clock: what a fast, idle host would get."""
    return lambda line: (value(line) * number(line, "load", "seconds") /
                         (number(line, "stats", "busy_s") or NAN))


def mb_s(line):
    return number(line, "load", "mb_s")


def p99_ms(line):
    return number(line, "load", "p99_us") / 1e3


def erases(line):
    return number(line, "stats", "erases") / (number(line, "load", "bytes") / GIB)


def programmed(line):
    return (number(line, "stats", "pages_programmed") * number(line, "stats", "page_bytes") /
            number(line, "load", "bytes"))


def ledger_share(line):
    wrote = (number(line, "after", "stick_written_bytes") -
             number(line, "before", "stick_written_bytes"))
    return wrote / (number(line, "stats", "written_bytes") or NAN)


def boot_s(line):
    return number(line, "boot", "ms") / 1e3


def added_us(results, stick, workload):
    """Microseconds that the engine adds to a request of the floor's."""
    return (1e6 / results.value(workload, stick, "ours", iops) -
            1e6 / results.value(workload, stick, "floor", iops))


def of(*path):
    return lambda line: number(line, *path)


COLD = ["imported", "imported, halves", "randomly written", "randomly written, halves",
        "packed", "packed, halves"]

def max_ms(line):
    return number(line, "load", "max_us") / 1e3


def beside(workload, title):
    """Two loads at once: what the first one waits, and what the other one gets."""
    return [(title + ": 99 of 100 within ms", workload, p99_ms, False),
            ("the same, the longest, ms", workload, max_ms, False),
            ("the same, MB/s of the other load", workload, of("other", "mb_s"), True)]


ROWS = [
    ("4 KiB random writes, a flush every 16: IOPS", "randwrite", iops, True),
    ("the same, by the stick's clock", "randwrite", busy(iops), True),
    ("the same, 99 of 100 done within ms", "randwrite", p99_ms, False),
    ("the same, erases a GiB written", "randwrite", erases, False),
    ("the same, bytes programmed a byte", "randwrite", programmed, False),
    ("the same, ledger's bytes over the simulator's", "randwrite", ledger_share, None),
    ("writes of 1 MiB in order: MB/s", "seqwrite", mb_s, True),
    ("the same, by the stick's clock", "seqwrite", busy(mb_s), True),
    ("cold reads of 1 MiB in order: MB/s", "seqread", mb_s, True),
    ("the same, by the stick's clock", "seqread", busy(mb_s), True),
    ("the same, of data that halves: MB/s", "seqread-half", mb_s, True),
    ("cold 4 KiB random reads: IOPS", "coldread", iops, True),
    ("the same, by the stick's clock", "coldread", busy(iops), True),
    ("the same, of data that halves: IOPS", "coldread-half", iops, True),
    ("warm 4 KiB random reads from the host's disk: IOPS", "warmread", iops, True),
    ("the replay of a Debian's boot waits, seconds", "replay", of("wait_s"), False),
    ("the same, the host's cache has it (raw: a file there)", "replay-warm", of("wait_s"), False),
    ("a guest's boot (emulated) until it is ready: seconds", "boot", boot_s, False),
    ("virtual clock, no FUSE: random writes, IOPS", "virtual", of("virtual", "iops"), True),
    ("virtual clock: the stick's own limit", "virtual", of("virtual", "limit_iops"), True),
    ("in memory, one processor: 4 KiB reads, depth 1: IOPS", "randread-1", iops, True),
    ("in memory, one processor: 4 KiB reads, depth 16: IOPS", "randread-16", iops, True),
    ("in memory, one processor: 4 KiB writes: IOPS", "randwrite-1", iops, True),
] + [("virtual clock, cold random reads of raw's, " + kind, "cold " + kind, of("reads", "ratio"),
      True) for kind in COLD] + \
    [("virtual clock, cold reads in order of raw's, " + kind, "cold " + kind,
      of("reads", "sequential_ratio"), True) for kind in COLD] + \
    beside("reads-beside-order", "4 KiB reads beside writes in order") + \
    beside("reads-beside-random", "4 KiB reads beside random writes, a flush every 16") + \
    beside("writes-beside-flushes", "a 4 KiB write every 2 ms beside 1 MiB and a flush") + [
        ("by the library: reads beside writes, 99 of 100 within ms", "library-beside",
         of("beside", "reads", "p99_ms"), False),
        ("by the library: writes beside flushes, 99 of 100 within ms", "library-beside",
         of("beside", "writes", "p99_ms"), False),
        ("into a stick without time, words, MB/s", "cpu words", of("cpu", "engine_mb_s"), True),
        ("the same, of lz4's own rate", "cpu words", of("cpu", "share"), True),
        ("the same, data that halves", "cpu halves", of("cpu", "share"), True),
        ("the same, random data", "cpu random", of("cpu", "share"), True),
        ("the cleaner's part, uniform, 0.7 full", "clean uniform 0.7", of("clean", "part"), False),
        ("the cleaner's part, uniform, 0.85 full", "clean uniform 0.85", of("clean", "part"),
         False),
        ("the cleaner's part, 80/20, 0.7 full", "clean hot 0.7", of("clean", "part"), False),
        ("the cleaner's part, 80/20, 0.85 full", "clean hot 0.85", of("clean", "part"), False),
    ]

# The README's: which rows, and the contenders beside ours in the order they are shown.
README_ROWS = [
    ("4 KiB random writes, a flush every 16: IOPS", "randwrite", iops, True),
    ("the same: erases a GiB", "randwrite", erases, False),
    ("1 MiB writes in order: MB/s", "seqwrite", mb_s, True),
    ("1 MiB reads in order, cold: MB/s", "seqread", mb_s, True),
    ("the same, data that halves", "seqread-half", mb_s, True),
    ("4 KiB random reads, cold: IOPS", "coldread", iops, True),
    ("the same, data that halves", "coldread-half", iops, True),
    ("4 KiB random reads, warm: IOPS", "warmread", iops, True),
    ("4 KiB reads beside 1 MiB writes: 99 of 100 within ms", "reads-beside-order", p99_ms, False),
    ("4 KiB writes beside flushes: 99 of 100 within ms", "writes-beside-flushes", p99_ms, False),
    ("a Debian's boot replayed, cold: seconds waited", "replay", of("wait_s"), False),
    ("the same, warm", "replay-warm", of("wait_s"), False),
    ("a guest's boot (emulated), seconds", "boot", boot_s, False),
]

FIVE = ["P1", "P2", "P3", "P5", "P6"]
SIX = STICKS[1:]
GOOD = ["P5", "P6"]
CHEAP = ["P0", "P1", "P2"]
LEAST, MOST = ">=", "<="

GOALS = [
    ("random writes, of the bare loop", "randwrite", "ours", "bare", iops, 0.8, LEAST, FIVE),
    ("random writes, raw partition, of the bare loop", "randwrite", "ours-part", "bare-part", iops,
     0.8, LEAST, FIVE),
    ("random writes, of qcow2 on a cheap stick", "randwrite", "ours", "qcow2", iops, 100, LEAST,
     ["P1"]),
    ("random writes, of qcow2 on a cheap stick", "randwrite", "ours", "qcow2", iops, 20, LEAST,
     ["P2"]),
    ("random writes, of qcow2", "randwrite", "ours", "qcow2", iops, 10, LEAST, ["P3"]),
    ("random writes, of qcow2 on a good stick", "randwrite", "ours", "qcow2", iops, 2, LEAST, GOOD),
    ("random writes, of raw on a good stick", "randwrite", "ours", "raw", iops, 2, LEAST, GOOD),
    ("erases for a GiB, of qcow2's", "randwrite", "ours", "qcow2", erases, 0.02, MOST,
     ["P0", "P1", "P2"]),
    ("the ledger's bytes, of the simulator's", "randwrite", "ours-part", None, ledger_share, 0.99,
     LEAST, STICKS),
    ("writes in order, of raw", "seqwrite", "ours", "raw", mb_s, 0.9, LEAST, SIX),
    ("reads in order, of raw", "seqread", "ours", "raw", mb_s, 0.9, LEAST, STICKS),
    ("reads in order, data that halves, of raw", "seqread-half", "ours", "raw", mb_s, 1, LEAST,
     STICKS),
    ("cold random reads, of raw", "coldread", "ours", "raw", iops, 0.8, LEAST, STICKS),
    ("cold random reads, data that halves, of raw", "coldread-half", "ours", "raw", iops, 0.8,
     LEAST, STICKS),
    ("warm random reads, of raw on the host's disk", "warmread", "ours", "raw", iops, 0.8, LEAST,
     STICKS),
    ("warm random reads, of raw on the host's disk, least FUSE", "warmread", "ours", "floor", iops,
     0.8, LEAST, STICKS),
    ("warm random reads, of raw and the host's cache", "warmread", "ours", "raw-cached", iops, 0.8,
     LEAST, STICKS),
    ("p99 of reads beside writes in order, of qcow2", "reads-beside-order", "ours-ram", "qcow2",
     p99_ms, 0.2, MOST, CHEAP),
    ("p99 of reads beside writes in order, of qcow2 by NBD", "reads-beside-order", "ours-ram",
     "qcow2-nbd", p99_ms, 0.2, MOST, CHEAP),
    ("p99 of reads beside random writes, of qcow2", "reads-beside-random", "ours-ram", "qcow2",
     p99_ms, 0.2, MOST, CHEAP),
    ("replay of a boot, seconds", "replay", "ours", None, of("wait_s"), 5, MOST, ["P0"]),
    ("replay of a boot, seconds", "replay", "ours", None, of("wait_s"), 8, MOST, ["P1"]),
    ("replay of a boot, seconds", "replay", "ours", None, of("wait_s"), 7, MOST, ["P2"]),
    ("replay of a boot, seconds", "replay", "ours", None, of("wait_s"), 0.8, MOST, ["P3"]),
    ("replay of a boot, warm, of raw on the host's disk", "replay-warm", "ours", "raw",
     of("wait_s"), 1.25, MOST, STICKS),
    ("into a stick without time, of lz4's own rate", "cpu words", "ours", None, of("cpu", "share"),
     0.7, LEAST, ["memory"]),
    ("the cleaner's part, uniform, 0.7 full, of greedy's", "clean uniform 0.7", "ours", None,
     of("clean", "ratio_promised"), 1.1, MOST, ["memory"]),
    ("the cleaner's part, uniform, 0.85 full, of greedy's", "clean uniform 0.85", "ours", None,
     of("clean", "ratio_promised"), 1.1, MOST, ["memory"]),
    ("the cleaner's part, 80/20, 0.7 full, of the ideal split's", "clean hot 0.7", "ours", None,
     of("clean", "ratio_promised"), 1.15, MOST, ["memory"]),
    ("the cleaner's part, 80/20, 0.85 full, of the ideal split's", "clean hot 0.85", "ours", None,
     of("clean", "ratio_promised"), 1.15, MOST, ["memory"]),
    ("the longest request at 95 % on P3, seconds", "clean full", "ours", None,
     of("clean", "longest_s"), 2, MOST, ["memory"]),
    ("boot of a guest, of qcow2", "boot", "ours", "qcow2", boot_s, 1, MOST, STICKS),
    ("memory, reads at depth 1, of bare FUSE", "randread-1", "ours", "floor", iops, 0.7, LEAST,
     ["memory"]),
    ("memory, reads at depth 16, of bare FUSE", "randread-16", "ours", "floor", iops, 0.7, LEAST,
     ["memory"]),
    ("memory, writes, of bare FUSE", "randwrite-1", "ours", "floor", iops, 0.5, LEAST, ["memory"]),
    ("virtual clock, random writes, of the stick's limit", "virtual", "ours", None,
     of("virtual", "ratio"), 0.7, LEAST, FIVE),
] + [("virtual clock, cold random reads, of raw: " + kind, "cold " + kind, "ours", None,
      of("reads", "ratio"), 0.8, LEAST, STICKS) for kind in COLD] + \
    [("virtual clock, cold reads in order, of raw: " + kind, "cold " + kind, "ours", None,
      of("reads", "sequential_ratio"), 0.9, LEAST, STICKS) for kind in COLD]

# What a log cannot be good at; where the data were not written in order, they do not lie in order.
# It is a goal all the same, and missed.


class Results:
    """The lines by workload, stick and contender, each in the order in which it came."""

    def __init__(self, lines):
        self.lines = lines
        self.index = {}
        for line in lines:
            workload = "randwrite" if line["workload"] == "append" else line["workload"]
            self.index[workload, line["stick"], line["contender"]] = line

    def sticks(self, workload):
        found = {s for w, s, _ in self.index if w == workload}
        return [s for s in STICKS if s in found] + sorted(found - set(STICKS))

    def contenders(self, workload):
        return list(dict.fromkeys(c for w, _, c in self.index if w == workload))

    def value(self, workload, stick, contender, value):
        # Raw lies the same whatever the data are.
        if contender == "raw" and workload.endswith("-half"):
            workload = workload[:-len("-half")]
        line = self.index.get((workload, stick, contender))
        return value(line) if line else NAN

    def best_qcow2(self, workload, stick, value, more):
        """(its value, the setting), or (NAN, "")."""
        found = [(self.value(workload, stick, c, value), c) for c in QCOW2]
        found = [f for f in found if not math.isnan(f[0])]
        return (max(found) if more else min(found)) if found else (NAN, "")


def cell(value):
    if math.isnan(value):
        return "-"
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.2f}"


def print_all(results):
    for title, workload, value, _ in ROWS:
        contenders, sticks = results.contenders(workload), results.sticks(workload)
        if not sticks:
            continue
        print(f"\n{title}\n{'':7}" + "".join(f" {c:>11}" for c in contenders))
        for stick in sticks:
            print(f"{stick:7}" + "".join(
                f" {cell(results.value(workload, stick, c, value)):>11}" for c in contenders))


def print_goal(results, goal, stick):
    what, workload, ours, theirs, value, factor, side, _ = goal
    has = results.value(workload, stick, ours, value)
    if theirs is None:
        than = 1.0
    elif theirs == "qcow2":
        than = results.best_qcow2(workload, stick, value, side == LEAST)[0]
    else:
        than = results.value(workload, stick, theirs, value)
    if math.isnan(has) or math.isnan(than):
        return None
    ratio = has / than if than else math.inf
    kept = ratio >= factor if side == LEAST else ratio <= factor
    print(f"{stick:7} {what:65} {side} {factor:<5g} is {ratio:<8.4g}",
          "kept" if kept else "MISSED")
    return kept


def print_goals(results):
    print("\nGoals")
    kept = [print_goal(results, goal, stick) for goal in GOALS for stick in goal[7]]
    for workload, most in (("randread-1", 10), ("randwrite-1", 15)):
        us = added_us(results, "memory", workload)
        if not math.isnan(us):
            kept.append(us <= most)
            print(f"memory  microseconds added to a request of the floor's, {workload:17}"
                  f" <= {most:<5g} is {us:<8.3g}", "kept" if kept[-1] else "MISSED")
    print(f"{kept.count(True)} kept, {kept.count(False)} missed")


# --- the README ---

# The README's contenders and their names there; "qcow2" is the best of its settings.
SHOWN = {
    "ours": "ours", "ours-ram": "ours, nothing cached", "ours-part": "ours, raw partition",
    "qcow2": "qcow2", "qcow2-nbd": "qcow2, NBD", "raw": "raw", "raw-cached": "raw, host's cache",
    "floor": "raw, least FUSE", "btrfs": "btrfs, zstd", "exfat": "ours, exFAT",
    "ntfs": "ours, NTFS",
}
RIVALS = ("qcow2", "qcow2-nbd", "raw", "raw-cached", "floor", "btrfs")


def readme_cells(results, row, stick):
    """{contender: its cell}; ours is bold where no rival is better."""
    _, workload, value, more = row
    values = {c: results.value(workload, stick, c, value) for c in SHOWN}
    values["qcow2"], setting = results.best_qcow2(workload, stick, value, more)
    cells = {c: cell(v) for c, v in values.items()}
    if setting and workload == "randwrite":
        cells["qcow2"] += f" {LETTERS[setting]}"
    rivals = [values[c] for c in RIVALS if not math.isnan(values[c])]
    for c in ("ours", "ours-ram"):
        if rivals and (values[c] >= max(rivals) if more else values[c] <= min(rivals)):
            cells[c] = f"**{cells[c]}**"
    return cells


def readme_lines(results, row, sticks):
    """A line a contender, where there is anything to show."""
    title = row[0]
    cells = [readme_cells(results, row, stick) for stick in sticks]
    for c, name in SHOWN.items():
        if any(of_stick[c] != "-" for of_stick in cells):
            yield f"| {title} | {name} | " + " | ".join(s[c] for s in cells) + " |"
            title = ""


def what_was_run(results):
    commits = sorted({line["commit"] for line in results.lines})
    dates = sorted({line["date"][:10] for line in results.lines})
    settings = sorted({line["settings"] for line in results.lines})
    return (f"Commit {', '.join(commits)}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}; "
            f"{'; '.join(settings)}. Repeat it: `tools/build && tools/bench`, an hour on two idle "
            "processors; `tools/bench --table --readme`.")


def markdown(results):
    sticks = [s for s in STICKS if any(line["stick"] == s for line in results.lines)]
    yield "| | | " + " | ".join(sticks) + " |"
    yield "| --- | --- |" + " ---: |" * len(sticks)
    for row in README_ROWS:
        yield from readme_lines(results, row, sticks)
    yield ""
    yield what_was_run(results)


def write_readme(path, text):
    with open(path, encoding="utf-8") as f:
        old = f.read()
    new, count = re.subn(r"(?s)(<!-- bench -->\n).*?(<!-- /bench -->)",
                         lambda m: m[1] + text + m[2], old)
    if count != 1:
        sys.exit(f"table: {path}: the marks <!-- bench --> and <!-- /bench --> are not there once")
    with open(path, "w", encoding="utf-8") as f:
        f.write(new)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--write", metavar="README")
    parser.add_argument("results")
    args = parser.parse_args()
    try:
        with open(args.results, encoding="utf-8") as f:
            results = Results(json.load(f))
    except (OSError, ValueError) as e:
        sys.exit(f"table: {args.results}: {e}; run tools/bench first")
    if not args.markdown:
        print_all(results)
        print_goals(results)
        return
    text = "\n".join(markdown(results)) + "\n"
    if args.write:
        write_readme(args.write, text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
