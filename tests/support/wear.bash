# SPDX-License-Identifier: GPL-2.0-or-later
# wear.bash: what the tests of `wear` share: a stick with a known past, and the page's figures.
# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=cli.sh
. "${SRC:?the source tree}/tests/support/cli.sh"

# A stick with the VM "one", and deleted VMs that wrote a GiB on each of the last 40 days for 600
# MiB of guests', a week each in the ten weeks 20 weeks ago, and once three years ago.
make_past() {
	stick=$work/stick
	mkdir "$stick"
	export STICKVM_STICK=$stick
	works "$vm" init "$stick"
	works "$vm" create one --size 64M
	python3 - "$stick/stickvm/stick.yaml" <<'END'
import sys, time
today = int(time.time()) // 86400
M = 1 << 20
spans = [(today - 1095, 1, 1)]
spans += [((today - 140) // 7 * 7 + 7 * k, 7, 7) for k in range(10)]
spans += [(today - k, 1, 1) for k in range(39, -1, -1)]
names = ("guest_written_bytes", "stick_written_bytes", "payload_bytes", "padding_bytes",
         "metadata_bytes", "cleaner_bytes", "flushes")
total = dict.fromkeys(names, 0)
lines = []
for day, days, times in spans:
    v = {"guest_written_bytes": 600 * M * times, "stick_written_bytes": 1024 * M * times,
         "payload_bytes": 500 * M * times, "padding_bytes": 300 * M * times,
         "metadata_bytes": 24 * M * times, "cleaner_bytes": 200 * M * times,
         "flushes": 1000 * times}
    for n in names:
        total[n] += v[n]
    lines.append("    d%dx%d: %d 0 %d 0 %d %d %d %d 0 0 %d %d" % (
        day, days, *(v[n] for n in names), 30000000 * times))
s = open(sys.argv[1]).read()
head, sep, rest = s.partition("ledger:\n")
first = (today - 1095) * 86400
total.update(sessions=7, unclean_detaches=3, first_used=first)
s = head + "ledger:\n  deleted:\n" + "".join(
    "    %s: %d\n" % (n, total[n]) for n in total) + rest
s += "history:\n  deleted:\n    since: %d\n%s\n" % (first, "\n".join(lines))
s += '    host0: "4 3 1000 2000 %d kitchen#0123abcd"\n' % (today * 86400)
s += '    host1: "3 0 1000 2000 %d <script>alert(1)</script>&\\"x\\""\n' % (today * 86400)
s += '    session0: "%d %d 2 600 1024 kitchen#0123abcd"\n' % (first, first + 60)
open(sys.argv[1], "w").write(s)
END
}

# PAGE JSON: each figure of the page is the JSON's, and none is missing.
figures_match() {
	python3 - "$1" "$2" <<'END'
import json, sys
from html.parser import HTMLParser

class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.table, self.cells = None, {}
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag == "table":
            self.table = a.get("id")
        if "data-key" in a:
            self.cells.setdefault(self.table, []).append(
                (a["data-key"], json.loads(a["data-value"])))

page = Page()
page.feed(open(sys.argv[1], encoding="utf-8").read())
j = json.load(open(sys.argv[2]))

def same(a, b):
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b))

def rows(table, count):
    cells = page.cells[table]
    assert len(cells) % count == 0, (table, len(cells))
    return [dict(cells[i:i + count]) for i in range(0, len(cells), count)]

life = dict(page.cells["life"])
assert set(life) == {"life_used_low", "life_used_high", "life_left_low", "life_left_high"}, life
assert all(same(v, j[k]) for k, v in life.items()), life
totals = dict(page.cells["totals"])
assert len(totals) == 21 and all(same(v, j[k]) for k, v in totals.items()), totals
for table, count, want in (("days", 9, j["history"]["spans"]), ("hosts", 4, j["hosts"]),
                           ("sessions", 2, j["recent_sessions"][::-1]),
                           ("slow", 4, j["slow_segments"])):
    if not want:
        assert table not in page.cells, table
        continue
    got = rows(table, count)
    assert len(got) == len(want), (table, len(got), len(want))
    for a, b in zip(got, want):
        assert all(same(v, b[k]) for k, v in a.items()), (table, a, b)
END
}
