#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# guest: the image that the other tests boot: the same bytes each time, made without root; it
# boots from disk, runs a job, powers off by the power button.
# test-labels: once
# test-locks: guest
set -euo pipefail

work=$(mktemp -d)
pid=
clean_up()
{
	[ -z "$pid" ] || kill "$pid" 2>/dev/null || true
	rm -rf "$work"
}
trap clean_up EXIT

fail()
{
	echo "FAIL: $*" >&2
	[ ! -e "$work/serial" ] || tail -n 20 "$work/serial" >&2
	exit 1
}

# wait_for PATTERN SECONDS
wait_for()
{
	local end=$((SECONDS + $2))
	until grep -aq "$1" "$work/serial" 2>/dev/null; do
		[ $SECONDS -lt $end ] && kill -0 "$pid" 2>/dev/null || fail "no '$1' in $2 s"
		sleep 0.2
	done
}

echo 'echo "job of the image"' >"$work/job"
"$SRC/tools/guest" --job "$work/job" --size 512M "$work/a.img"
"$SRC/tools/guest" --job "$work/job" --size 512M "$work/b.img"
cmp "$work/a.img" "$work/b.img" || fail "two runs make two images"
[ "$(stat -c %s "$work/a.img")" = $((512 << 20)) ] || fail "not of the size asked for"
if [ "$(id -u)" = 0 ]; then
	# An ordinary user, with what was downloaded before, gets the same bytes.
	install -d -m 777 "$work/user"
	chmod 755 "$work"
	cp -r "${STICKVM_GUEST_CACHE:-$SRC/build/guest}" "$work/cache"
	chown -R 65534:65534 "$work/cache"
	setpriv --reuid=65534 --regid=65534 --clear-groups env TMPDIR="$work/user" \
		"$SRC/tools/guest" --cache "$work/cache" --job "$work/job" --size 512M \
		"$work/user/c.img"
	cmp "$work/a.img" "$work/user/c.img" || fail "an ordinary user makes another image"
fi

start=$SECONDS
qemu-system-x86_64 -machine q35 -accel tcg -cpu Westmere-v1 -m 256 -smp 2 -display none \
	-serial "file:$work/serial" -qmp "unix:$work/qmp,server=on,wait=off" \
	-drive "file=$work/a.img,format=raw,if=virtio" &
pid=$!
wait_for 'stickvm-guest: ready uptime=' 120
echo "ready after $((SECONDS - start)) s"
wait_for '^job of the image' 30
wait_for 'stickvm-guest: job ended status=0' 30
(
	echo '{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}'
	sleep 1
) | socat - "unix-connect:$work/qmp" >/dev/null
wait_for 'Power down' 60
wait $pid || fail "QEMU ended with $?"
pid=

# What it wrote it also unmounted: the file system needs no repair.
e2fsck -fn "$work/a.img?offset=1048576" >"$work/fsck" 2>&1 || fail "e2fsck: $(cat "$work/fsck")"
! grep -q 'recover' "$work/fsck" || fail "not unmounted: $(cat "$work/fsck")"
