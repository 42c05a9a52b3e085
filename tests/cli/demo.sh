#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# demo: tools/demo without a terminal: boots, writes, powers off, boots, verifies, says what.
# test-labels: once
# test-locks: guest
set -euo pipefail

stick=$(mktemp -d)
out=$stick.out
trap 'rm -rf "$stick" "$out"' EXIT

fail()
{
	echo "FAIL: $*" >&2
	cat "$out" >&2
	exit 1
}

"$SRC/tools/demo" "$stick" </dev/null >"$out" 2>&1 || fail "tools/demo ended with $?"
cat "$out"
for what in 'boot 1: up after [0-9.]* s' 'boot 2: up after [0-9.]* s' \
	'sha256 of the 209715200 bytes' 'write amplification [0-9.]*'; do
	grep -q "$what" "$out" || fail "does not say: $what"
done
# Nothing of the run is left behind.
! grep -q "$stick" /proc/mounts || fail "a mount is left"
# The 200 MiB are incompressible: so much has reached the stick at least.
[ "$(du -sm "$stick" | cut -f 1)" -ge 200 ] || fail "less than was written is on the stick"
