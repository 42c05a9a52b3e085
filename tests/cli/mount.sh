#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# mount and umount: the disk as a file, in use by one only, closed when umount returns.
# test-locks: none
. "${SRC:?the source tree}/tests/support/cli.sh"

stick=$work/stick mnt=$work/mnt
mkdir "$stick" "$mnt" "$work/mnt2"
export STICKVM_STICK=$stick
works "$vm" init "$stick"
works "$vm" create a --size 256M
at_end umount -l "$mnt"
at_end umount -l "$work/mnt2"

# DIR: the process that serves it.
server_of() {
	findmnt -no SOURCE "$1" | sed 's/.*#//'
}

# PID: it runs (and is not only waiting to be reaped).
alive() {
	grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status" 2>/dev/null
}

# It can be opened at once, and is closed when umount returns: the next writer is not refused.
for round in 1 2 3 4 5; do
	works "$vm" mount a "$mnt"
	[ "$(stat -c %s "$mnt/disk.raw")" = 268435456 ] || die "no disk.raw"
	head -c 2M /dev/urandom >"$work/data"
	dd if="$work/data" of="$mnt/disk.raw" bs=1M seek=$round conv=notrunc status=none
	server=$(server_of "$mnt")
	works "$vm" umount "$mnt"
	! alive "$server" || die "umount did not wait"
	works "$vm" mount a "$mnt" --read-only
	dd if="$mnt/disk.raw" bs=1M skip=$round count=2 status=none | cmp - "$work/data" ||
		die "what was written is gone"
	works "$vm" umount "$mnt"
done
works "$vm" wear a --json
json 'j["unclean_detaches"]' 0
works "$vm" mount a "$mnt"
python3 - "$mnt/status.json" <<'PY' || die "status.json"
import json, sys
j = json.load(open(sys.argv[1]))
assert j["state"] == "ok" and j["size_bytes"] == 268435456
PY

# In use by one only; each refusal names the reason and disturbs nobody.
refused 5 'in use by another process' "$vm" mount a "$work/mnt2"
refused 5 'in use by another process' "$vm" mount a "$work/mnt2" --foreground
refused 5 'in use by another process' "$vm" check a
refused 5 'in use by another process' "$vm" delete a --yes
works "$vm" list --json
json 'j["vms"][0]["state"]' 'in use'
exec 7<"$mnt/disk.raw"
refused 5 'is in use; close' "$vm" umount "$mnt"
exec 7<&-
echo still | dd of="$mnt/disk.raw" conv=notrunc status=none || die "the mount was disturbed"
works "$vm" umount "$mnt"

# Read-only: nothing is written to the stick, several may look.
before=$(tree_of "$stick")
works "$vm" mount a "$mnt" --read-only
works "$vm" mount a "$work/mnt2" --read-only
[ "$(head -c 5 "$work/mnt2/disk.raw")" = still ] || die "read-only reads differ"
! (echo x >"$mnt/disk.raw") 2>/dev/null || die "a read-only disk was written"
works "$vm" umount "$mnt"
works "$vm" umount "$work/mnt2"
[ "$(tree_of "$stick")" = "$before" ] || die "a read-only mount changed the stick"
works "$vm" mount a "$mnt" --read-only
refused 5 'in use' "$vm" delete a --yes
works "$vm" umount "$mnt"

# SIGTERM closes it cleanly, with what was written and not flushed.
works "$vm" mount a "$mnt"
echo terminated | dd of="$mnt/disk.raw" conv=notrunc status=none
server=$(server_of "$mnt")
kill -TERM "$server"
for _ in $(seq 500); do
	alive "$server" || break
	sleep 0.01
done
! alive "$server" || die "SIGTERM did not end it"
! mountpoint -q "$mnt" || die "SIGTERM left the mount"
works "$vm" mount a "$mnt"
[ "$(head -c 10 "$mnt/disk.raw")" = terminated ] || die "SIGTERM lost a write"

# A killed server: umount says so, and the disk opens again with what was flushed.
echo flushed | dd of="$mnt/disk.raw" conv=notrunc,fsync status=none
kill -KILL "$(server_of "$mnt")"
sleep 0.2
refused 1 'serving process had died' "$vm" umount "$mnt"
works "$vm" check a --deep
works "$vm" mount a "$mnt"
[ "$(head -c 7 "$mnt/disk.raw")" = flushed ] || die "a flushed write is gone"
works "$vm" umount "$mnt"
works "$vm" wear a --json
json 'j["unclean_detaches"]' 1

# In the foreground: it stays until umount, and ends with status 0.
"$vm" mount a "$mnt" --foreground >"$work/fg" 2>&1 </dev/null &
job=$!
for _ in $(seq 500); do
	mountpoint -q "$mnt" && break
	sleep 0.01
done
[ -s "$mnt/disk.raw" ] || die "not served in the foreground"
works "$vm" umount "$mnt"
wait $job || die "foreground: status $?: $(cat "$work/fg")"
grep -q 'disk.raw is the disk of a' "$work/fg" || die "foreground said: $(cat "$work/fg")"

# Folders that will not do.
touch "$work/file"
mkdir -p "$work/full/x"
refused 1 'No such file' "$vm" mount a "$work/none"
refused 1 'Not a directory' "$vm" mount a "$work/file"
refused 1 'not empty' "$vm" mount a "$work/full"
refused 1 'no disk of stickvm is mounted here' "$vm" umount "$mnt"
refused 1 'no disk of stickvm is mounted here' "$vm" umount "$work/none"
refused 1 'no such VM' "$vm" mount nobody "$mnt"

echo "mount: ok"
