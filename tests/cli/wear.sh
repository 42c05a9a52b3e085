#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# wear: the history by day, session and host in every form; what a crash and a delete leave of it.
# test-labels: once
# test-locks: none
# shellcheck source-path=SCRIPTDIR source=../support/wear.bash
. "${SRC:?the source tree}/tests/support/wear.bash"

make_past
mkdir "$work/mnt"
at_end "umount -l '$work/mnt'"
write_some() {
	head -c "$1" /dev/urandom | dd of="$work/mnt/disk.raw" bs=1M conv=notrunc,fsync status=none
}
# All that was written is accounted for by day, as far as the days are known.
sums() {
	json 'sum(s["stick_written_bytes"] for s in j["history"]["spans"])
+ j["history"]["undated_stick_written_bytes"] == j["stick_written_bytes"]' True
	json 'sum(s["guest_written_bytes"] for s in j["history"]["spans"])
== j["guest_written_bytes"]' True
}

# The life: the formula, the interval, the pace of 30 days at a GiB a day.
works "$vm" wear --json
sums
json 'len(j["history"]["spans"]), j["hosts"][0]["sessions"], j["hosts"][0]["unclean"]' '51 4 3'
json 'j["sessions"], j["unclean_detaches"]' '8 3' # those of "one" included
cat >"$work/life.py" <<'END'
import json, sys
j = json.load(open(sys.argv[1]))
def near(a, b): assert abs(a - b) <= 1e-6 * abs(b), (a, b)
cap, written = j["capacity_bytes"], j["stick_written_bytes"]
near(j["life_used_low"], written / (cap * 3000))
near(j["life_used_high"], written * 2 / (cap * 300))
near(j["life_left_low"], max(0, 1 - j["life_used_high"]))
near(j["life_left_high"], 1 - j["life_used_low"])
pace = j["pace_bytes_per_day"]
assert j["pace_days"] == 30 and abs(pace - 2**30) < 2**22, pace
near(j["years_left_low"], max(0, 1 - j["life_used_high"]) * cap * 300 / 2 / (pace * 365.25))
near(j["years_left_high"], (1 - j["life_used_low"]) * cap * 3000 / (pace * 365.25))
assert 0 < j["years_left_low"] < j["years_left_high"]
END
python3 "$work/life.py" "$work/out" || die "life"
works "$vm" wear
says '^kitchen +4 +3 '
says 'At the pace of the last 30 days \(1.00 GiB a day\) it lasts between .* more years'
says 'Life used by this: between .* % and .* %'
says '^- 3 of 8 sessions did not end cleanly: end them'
says 'not seen here.*at most some seconds'
works "$vm" wear --prometheus
says '^stickvm_stick_life_left_years\{stick="[0-9a-f-]{36}",bound="low"\} [0-9.e+]+$'

# A mounted disk tells of now; sessions end closed, or unclean.
works "$vm" mount one "$work/mnt"
write_some 3M
works "$vm" wear one --json
sums
json '[s["ended"] for s in j["recent_sessions"]], j["vms"][0]["as_of"]' "['closed', 'not'] now"
json 'j["recent_sessions"][-1]["guest_written_bytes"], j["guest_written_bytes"]' '3145728 3145728'
pid=$(findmnt -no SOURCE "$work/mnt" | sed 's/.*#//')
kill -KILL "$pid"
umount -l "$work/mnt"
while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
works "$vm" wear one --json # what was flushed is counted after a crash, to the byte
sums
json 'j["guest_written_bytes"], j["recent_sessions"][-1]["ended"]' '3145728 not'
works "$vm" mount one "$work/mnt"
write_some 2M
works "$vm" umount "$work/mnt"
works "$vm" wear one --json
sums
json '[s["ended"] for s in j["recent_sessions"]]' "['closed', 'unclean', 'closed']"
json 'j["hosts"][0]["sessions"], j["hosts"][0]["unclean"], j["unclean_detaches"]' '3 1 1'
json 'j["slow_segments"][0]["worst_seconds"] > 0, j["slow_segments"][0]["vm"]' 'True one'

# The page: well-formed plots, nothing from elsewhere, no script, the JSON's figures.
works "$vm" wear --html "$work/page.html"
[ ! -s "$work/out" ] || die "--html printed something"
works "$vm" wear --json
figures_match "$work/page.html" "$work/out" || die "the page says something else"
python3 - "$work/page.html" <<'END'
import re, sys
import xml.etree.ElementTree as ET
page = open(sys.argv[1], encoding="utf-8").read()
svgs = re.findall(r"<svg.*?</svg>", page, re.S)
assert len(svgs) == 6, len(svgs)
for svg in svgs:
    root = ET.fromstring(svg)
    for e in root.iter("rect"):
        assert float(e.get("width")) >= 0 and float(e.get("height")) >= 0, e.attrib
        assert float(e.get("x")) + float(e.get("width")) <= 901, e.attrib
days = ET.fromstring(svgs[1])
assert len(days.findall("g")) == 51
heights = [sum(float(r.get("height")) for r in g.findall("rect")) for g in days.findall("g")]
assert max(heights[:-1]) - min(heights[:-1]) < 0.1, heights  # each day is a GiB
loads = re.search(r"<script|https?:|//[a-z]|url\(|\b(src|href)=|@import", page)
assert not loads, loads
assert "default-src 'none'" in page
assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
END

cp "$work/out" "$work/before"
refused 1 'cannot be written' "$vm" wear --html "$work/nowhere/page.html"

# A VM that is deleted leaves its days, sessions and hosts with the stick.
works "$vm" delete one --yes
works "$vm" wear --json
sums
python3 - "$work/before" "$work/out" <<'END'
import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
for key in ("stick_written_bytes", "guest_written_bytes", "sessions", "unclean_detaches"):
    assert a[key] == b[key], key
assert a["history"] == b["history"]
assert a["hosts"] == b["hosts"] and a["recent_sessions"] == b["recent_sessions"]
assert b["slow_segments"] == []
END
works "$vm" wear # nothing is left but the past
says '^kitchen '

# scratch: a setting that may be absent (cli/scratch.sh has the rest).
works "$vm" create two --size 64M
refused 2 'scratch: cannot be .8X.; allowed: a size' "$vm" set two scratch=8X
works "$vm" set two scratch=8M
works "$vm" show two --json
json 'j["scratch_bytes"]' 8388608
works "$vm" set two scratch=
works "$vm" show two --json
json 'j["scratch_bytes"]' 0
echo "wear: ok"
