#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# readme: every command of README.md's guide runs, as it stands there, on a fresh stick.
#
# A fenced block marked "sh" is run, in order, in one shell; /media/stick becomes a folder of this
# test. The blocks "sh two-commands" and "sh build" are run by the test demo, which calls both, and
# by whoever runs the tests.
# test-labels: once
# test-locks: guest
set -euo pipefail

work=$(mktemp -d)
clean_up()
{
	! mountpoint -q "$work/src/disk" || fusermount3 -u "$work/src/disk" || true
	rm -rf "$work"
}
trap clean_up EXIT

fail()
{
	echo "FAIL: $*" >&2
	exit 1
}

two=$(awk '/^```sh two-commands$/ { on = 1; next } /^```/ { on = 0 } on' "$SRC/README.md")
[ "$two" = $'tools/demo\ntools/test' ] || fail "the two commands are not two: $two"
awk '/^```sh$/ { on = 1; next } /^```/ { on = 0 } on' "$SRC/README.md" >"$work/commands"
[ "$(wc -l <"$work/commands")" -ge 10 ] || fail "README.md has hardly any commands"

# The commands see the source tree's tools, and a folder of their own for what they make.
mkdir -p "$work/src" "$work/stick"
ln -s "$SRC/tools" "$work/src/tools"
cd "$work/src"
sed -i "s,/media/stick,$work/stick,g" "$work/commands"
sed 's/^/+ /' "$work/commands"
PATH=$BIN:$PATH bash -euo pipefail "$work/commands" || fail "a command of README.md ended with $?"
[ -z "$(find "$work/stick/stickvm/vms" -mindepth 1 2>/dev/null)" ] || fail "delete left something"

# What README.md names exists.
for name in $(grep -o '`[a-z]*/[A-Za-z./-]*\.md`\|`tools/[a-z-]*`' "$SRC/README.md" | tr -d '`'); do
	[ -e "$SRC/$name" ] || fail "README.md names $name, which does not exist"
done
