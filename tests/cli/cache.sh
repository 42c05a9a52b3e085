#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The cache on the host: it survives a restart, serves what it has, and may be removed at any time.
. "${SRC:?the source tree}/tests/support/cli.sh"

stick=$work/stick mnt=$work/mnt
mkdir "$stick" "$mnt"
export STICKVM_STICK=$stick
works "$vm" init "$stick"
works "$vm" create a --size 256M
at_end umount -l "$mnt"

# KEY: from status.json.
status() {
	python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' \
		"$mnt/status.json" "$1"
}

read_all() {
	dd if="$mnt/disk.raw" bs=64k count=256 status=none | cmp - "$work/data" ||
		die "other bytes"
}

# Settings and options.
refused 2 'cache: cannot be .7M.; allowed' "$vm" set a cache=7M
refused 2 'cache cannot be .much.' "$vm" mount a "$mnt" --cache much
works "$vm" mount a "$mnt" --cache off
[ "$(status cache_limit_bytes)" = 0 ] || die "off is not off"
works "$vm" umount "$mnt"
[ ! -e "$stick/stickvm/vms/a/cache.key" ] || die "a key that nobody asked for"
works "$vm" set a cache=64M
works "$vm" show a --json
json 'j["cache"]' 64M

# First the stick, then the cache; it has a restart behind it.
{
	echo "a secret of the guest, that the host must not have"
	head -c 16777165 /dev/urandom
} >"$work/data"
works "$vm" mount a "$mnt"
[ "$(status cache_limit_bytes)" = 67108864 ] || die "not the size that was set"
dd if="$work/data" of="$mnt/disk.raw" bs=1M conv=notrunc,fsync status=none
read_all
[ "$(status cache_misses)" -gt 1000 ] || die "no misses"
works "$vm" umount "$mnt"
[ "$(stat -c %a "$stick/stickvm/vms/a/cache.key")" = 600 ] || die "the key is for all to read"
! grep -rqF "a secret of the guest" "$XDG_CACHE_HOME" || die "the host has it in plain"
works "$vm" mount a "$mnt"
read_all
[ "$(status cache_hits)" -gt 3000 ] || die "nothing came from the cache"
[ "$(status cache_bad)" = 0 ] || die "something in it was bad"

# Removed, cut and scribbled over while the disk is in use.
fio --name=cut --filename="$mnt/disk.raw" --rw=randrw --bs=4k --size=16M --verify=crc32c \
	--runtime=4 --time_based --verify_fatal=1 --verify_state_save=0 \
	--output="$work/fio" &
fio=$!
for _ in 1 2 3 4 5; do
	sleep 0.5
	for f in "$XDG_CACHE_HOME"/stickvm/*/*.cache; do
		[ -e "$f" ] || continue
		case $((RANDOM % 3)) in
		0) truncate -s 5000 "$f" 2>/dev/null || true ;;
		1) dd if=/dev/urandom of="$f" bs=4k count=9 conv=notrunc status=none || true ;;
		2) rm -f "$f" ;;
		esac
	done
	[ $((RANDOM % 2)) = 0 ] || rm -rf "$XDG_CACHE_HOME/stickvm"
done
wait "$fio" || die "fio: $(cat "$work/fio")"
[ "$(status state)" = ok ] || die "state"
works "$vm" umount "$mnt"

# With another key what is there is no use, and no harm.
works "$vm" mount a "$mnt"
dd if="$work/data" of="$mnt/disk.raw" bs=1M conv=notrunc,fsync status=none
read_all
works "$vm" umount "$mnt"
head -c 32 /dev/urandom >"$stick/stickvm/vms/a/cache.key"
works "$vm" mount a "$mnt"
read_all
[ "$(status cache_hits)" -lt 200 ] || die "hits under another key"
works "$vm" umount "$mnt"
works "$vm" check a --deep
