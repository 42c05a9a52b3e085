#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# grace: a full stick: the VM is paused, goes on with the guest's reserve, deletes, trims and works
# on; then it is full again and goes on once others give room back. Nothing else is touched.
# test-labels: long once
# shellcheck source-path=SCRIPTDIR source=run.bash
. "$(dirname "$0")/run.bash"

if [ "$(id -u)" != 0 ]; then
	echo "needs root to mount a small file system; not run"
	exit 77
fi
guest_image
truncate -s 640M "$work/small"
mkfs.ext4 -q -m 0 "$work/small"
mkdir "$work/mnt"
mount -o loop "$work/small" "$work/mnt"
at_end "umount -l '$work/mnt'"
fallocate -l 150M "$work/mnt/filler"
make_stick "$work/mnt"
serial=$work/serial
image_hash=$(sha256sum "$guest")

# KEY: a number of the VM, as list has it.
number() {
	"$vm" list --json 2>/dev/null >"$work/list"
	python3 -c "import json,sys; print(json.load(sys.stdin)['vms'][0]['$1'])" <"$work/list"
}

refused 1 'it is not running; start it' "$vm" resume g
used=$(number used_bytes) room=$(number capacity_bytes)
[ "$room" -gt "$used" ] || die "no room at all: $used of $room"

# As much as there is room, and 3 MiB more, which the reserve can take.
over=$(((room - used) / 1048576 + 3))
make_job <<END
all() { find / -xdev -type f ! -name 'big*' | sort | xargs sha256sum | sha256sum; }
head -c 3000000 /dev/urandom >/keep; sync
echo "HASH1 \$(all)"
dd if=/dev/urandom of=/big bs=1M count=$over 2>/dev/null; sync; echo WRITTEN
rm /big; sync; fstrim /; echo "TRIMMED \$?"
echo 3 >/proc/sys/vm/drop_caches
echo "HASH2 \$(all)"
dd if=/dev/urandom of=/big bs=1M count=20 2>/dev/null; sync; echo AGAIN
dd if=/dev/urandom of=/big2 bs=1M count=$over 2>/dev/null; sync; echo MORE
echo 3 >/proc/sys/vm/drop_caches
echo "HASH3 \$(all)"
sync; poweroff
END
fresh
"$vm" run g --accel tcg --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_line 'stickvm-guest: ready' "$serial" 120
refused 1 'it is not paused' "$vm" resume g
wait_line 'g: the stick is full .*MiB used.*resume g --grace' "$work/words" 300
! grep -aq WRITTEN "$serial" || die "the guest was told that its data is safe"
"$vm" list >"$work/out" 2>"$work/err" || die "list: $(cat "$work/err")"
grep -Eq 'warning: g: (9[0-9]|1[0-9][0-9]) % of what its disk may take' "$work/err" ||
	die "list does not warn: $(cat "$work/err")"

# Without more room nothing changes.
"$vm" resume g >"$work/out" || die "resume"
says '^g goes on$'
sleep 3
! grep -aq WRITTEN "$serial" || die "it wrote without room"

# With the reserve it goes on, deletes and trims.
"$vm" resume g --grace >"$work/out" || die "resume --grace"
says '^g goes on and may write [0-9.]+ MiB more'
wait_line '^WRITTEN' "$serial" 120
wait_line '^TRIMMED 0' "$serial" 120
wait_line '^AGAIN' "$serial" 120

# Full again, without a reserve asked for: room that others give back is noticed.
until [ "$(grep -c 'g: the stick is full' "$work/words")" -ge 2 ]; do
	[ $((waited = ${waited:-0} + 1)) -lt 300 ] || die "not full again: $(cat "$work/words")"
	sleep 1
done
sleep 2
! grep -aq MORE "$serial" || die "it was not full"
rm "$work/mnt/filler"
"$vm" resume g >"$work/out" 2>&1 || true # it may have tried by itself already
wait_line '^MORE' "$serial" 200
wait_end $run 0 200
grep -a '^HASH' "$serial" | sed 's/^HASH. //' | tr -d '\r' | sort -u >"$work/hashes"
[ "$(grep -ac '^HASH' "$serial")" = 3 ] || die "hashes: $(grep -a HASH "$serial")"
[ "$(wc -l <"$work/hashes")" = 1 ] || die "other files changed: $(grep -a HASH "$serial")"
nothing_left
intact

# And after a new start.
make_job <<'END'
echo "HASH4 $(find / -xdev -type f ! -name 'big*' | sort | xargs sha256sum | sha256sum)"
poweroff
END
fresh
"$vm" run g --accel tcg --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_end $run 0 200
grep -a '^HASH4' "$serial" | sed 's/^HASH. //' | tr -d '\r' | cmp -s - "$work/hashes" ||
	die "another start finds other files: $(grep -a HASH4 "$serial") $(cat "$work/hashes")"
[ "$(sha256sum "$guest")" = "$image_hash" ] || die "the image was written to"
echo "grace: ok"
