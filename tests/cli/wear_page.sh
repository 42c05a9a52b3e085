#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# wear_page: the page of `wear --html` in a real browser: it renders, without a network, without a
# request and without an error; what it shows is the JSON's.
# test-labels: long once
# shellcheck source-path=SCRIPTDIR source=../support/wear.bash
. "${SRC:?the source tree}/tests/support/wear.bash"

make_past
page=$stick/wear.html
works "$vm" wear --html "$page"
works "$vm" wear --json

# OPTIONS...: the browser on the page, in a network without a single interface. Everything that it
# says of the page is in $work/log, every request in $work/net.json.
browse() {
	rm -f "$work/net.json"
	unshare --net --map-root-user timeout 120 chromium --headless=new --no-sandbox \
		--disable-gpu --hide-scrollbars --user-data-dir="$work/profile" \
		--disable-background-networking --disable-component-update --disable-sync \
		--no-first-run --enable-logging=stderr --log-net-log="$work/net.json" \
		--virtual-time-budget=2000 "$@" "file://$page" 2>"$work/log" </dev/null ||
		die "chromium: $(tail -n 3 "$work/log")"
	! grep -E 'CONSOLE.*source: file:' "$work/log" || die "the page had errors"
}

browse --dump-dom >"$work/dom.html"
figures_match "$work/dom.html" "$work/out" || die "the browser shows something else"
python3 - "$work/net.json" <<'END'
import json, re, sys
text = open(sys.argv[1]).read()
urls = set(re.findall(r'"url":"([^"]*)"', text))
bad = [u for u in urls if re.match(r"(https?|wss?|ftp):", u) and "google" not in u
       and "gvt1" not in u]
assert not bad, bad  # the browser's own are named after its maker
END

# A picture with ink on it: the plots' own colours, each in many places.
browse --window-size=1000,3400 --screenshot="$work/page.png"
python3 - "$work/page.png" <<'END'
import struct, sys, zlib
data = open(sys.argv[1], "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n"
at, idat = 8, b""
while at < len(data):
    size, kind = struct.unpack(">I4s", data[at:at + 8])
    body = data[at + 8:at + 8 + size]
    if kind == b"IHDR":
        width, height, depth, colour = struct.unpack(">IIBB", body[:10])
    if kind == b"IDAT":
        idat += body
    at += 12 + size
n = {2: 3, 6: 4}[colour]
assert depth == 8 and width == 1000
raw, line, count = zlib.decompress(idat), bytearray(width * n), {}
for y in range(height):
    row = raw[y * (width * n + 1):(y + 1) * (width * n + 1)]
    kind, cur = row[0], bytearray(row[1:])
    for i in range(len(cur)):
        a = cur[i - n] if i >= n else 0
        b, c = line[i], line[i - n] if i >= n else 0
        if kind == 1: cur[i] = cur[i] + a & 255
        elif kind == 2: cur[i] = cur[i] + b & 255
        elif kind == 3: cur[i] = cur[i] + (a + b) // 2 & 255
        elif kind == 4:
            p = a + b - c
            pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
            cur[i] = cur[i] + (a if pa <= pb and pa <= pc else b if pb <= pc else c) & 255
    line = cur
    for i in range(0, len(cur), n):
        k = bytes(cur[i:i + 3])
        count[k] = count.get(k, 0) + 1
for colour in ("2f6fab", "9a9a9a", "b5403a", "e08a1e"):
    assert count.get(bytes.fromhex(colour), 0) > 500, (colour, count.get(bytes.fromhex(colour)))
END
echo "wear_page: ok"
