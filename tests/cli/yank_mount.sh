#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A stick is pulled under a mounted disk and comes back as another device at another folder: tools
# see EIO meanwhile, and then nothing is missing. Another session in between: refused. Ended without
# it: only with --force, after the user was told what is lost.
# test-labels: once
# test-locks: guest
. "${SRC:?the source tree}/tests/support/cli.sh"

sim=$work/sim mnt=$work/mnt loop='' at=''
mkdir "$sim" "$mnt" "$work/mnt2" "$work/stick1" "$work/stick2" "$work/stick3" "$work/stick4"

at_end 'umount "$sim"'
at_end 'detach_loop'
at_end 'umount -l "$at"'
at_end 'umount -l "$mnt"; umount -l "$work/mnt2"'

detach_loop() {
	[ -z "$loop" ] || losetup -d "$loop"
}

attach() {
	loop=$(losetup -f --show --direct-io=on "$sim/stick.img")
}

# FS DIR: the stick as a device of a new name, mounted there.
plug() {
	[ -n "$loop" ] || attach
	at=$2
	case $1 in
	ext4) mount -t ext4 "$loop" "$at" ;;
	exfat) mount.exfat-fuse "$loop" "$at" >/dev/null ;;
	esac
}

# The stick leaves its port; the host takes away what is left of it.
unplug() {
	echo unplug >"$sim/ctl"
}

clear_away() {
	umount -l "$at"
	losetup -d "$loop"
	loop='' at=''
}

state() {
	python3 -c 'import json,sys; print(json.load(sys.stdin)["state"])' <"$mnt/status.json"
}

# STATE SECONDS
wait_state() {
	for _ in $(seq $(($2 * 20))); do
		[ "$(state)" = "$1" ] && return
		sleep 0.05
	done
	die "the state is $(state), not $1, after $2 s"
}

put() { # FILE BLOCK [FLAGS]: 64 KiB
	dd if="$1" of="$mnt/disk.raw" bs=64k seek="$2" conv=notrunc${3:+,$3} oflag=direct \
		status=none
}

get() { # BLOCK
	dd if="$mnt/disk.raw" bs=64k skip="$1" count=1 iflag=direct status=none
}

# FILE BLOCK: 64 KiB by a program that neither flushes nor closes, until drop is called.
writer=''
hold() {
	mkfifo "$work/fifo"
	python3 -c '
import os, sys
fd = os.open(sys.argv[2], os.O_RDWR)
os.pwrite(fd, open(sys.argv[1], "rb").read(), int(sys.argv[3]) << 16)
print("held", flush=True)
sys.stdin.read()' "$1" "$mnt/disk.raw" "$2" <"$work/fifo" >"$work/held" &
	writer=$!
	exec 9>"$work/fifo"
	until [ -s "$work/held" ]; do sleep 0.05; done
}

drop() {
	exec 9>&-
	wait $writer || true
	rm "$work/fifo" "$work/held"
}

pull_and_go_on() { # FS MKFS...
	local fs=$1
	shift
	"$BIN/flashsim" --profile P5 --size 512M --latency off --cut drop=50,garbage=10,reorder \
		"$sim"
	attach
	"$@" "$loop" >/dev/null
	plug "$fs" "$work/stick1"
	works "$vm" --stick "$work/stick1" init "$work/stick1"
	works "$vm" --stick "$work/stick1" create a --size 128M
	works "$vm" --stick "$work/stick1" mount a "$mnt"
	for i in 1 2 3 4; do
		head -c 64k /dev/urandom >"$work/block$i"
	done
	put "$work/block1" 1 fdatasync
	put "$work/block2" 2 # not flushed, but by the close
	exec 8<>"$mnt/disk.raw"
	dd if="$work/block3" bs=64k seek=3 conv=notrunc oflag=direct status=none >&8
	unplug

	# Tools see an error, at once and without end; status.json goes on.
	! put "$work/block4" 4 fdatasync 2>"$work/err" || die "$fs: a flush without a stick"
	grep -q 'Input/output error' "$work/err" || die "$fs: $(cat "$work/err")"
	wait_state detached 5
	! get 100 >"$work/out" 2>"$work/err" || [ -s "$work/out" ] || die "$fs: an empty read"
	clear_away
	# A file system in a process may have answered from memory, and been taken for the stick.
	put "$work/block4" 4 fdatasync 2>/dev/null || true
	wait_state detached 5

	# Back, as another device, at another folder.
	echo plug >"$sim/ctl"
	plug "$fs" "$work/stick2"
	wait_state ok 15
	for i in 1 2 3; do
		get $i | cmp - "$work/block$i" || die "$fs: block $i is not what was written"
	done
	put "$work/block4" 4 fdatasync || die "$fs: no flush after the stick was back"
	exec 8>&-

	# Pulled and back at once, a few times, under a writer.
	for round in 1 2 3; do
		head -c 64k /dev/urandom >"$work/again"
		dd if="$work/again" of="$mnt/disk.raw" bs=4k seek=$((round * 64)) conv=notrunc \
			oflag=direct status=none
		unplug
		clear_away
		echo plug >"$sim/ctl"
		plug "$fs" "$work/stick$((round % 2 + 1))"
		dd if=/dev/zero of="$mnt/disk.raw" bs=4k seek=9000 count=1 conv=notrunc,fdatasync \
			oflag=direct status=none 2>/dev/null || true
		wait_state ok 15
		dd if="$mnt/disk.raw" bs=4k skip=$((round * 64)) count=16 iflag=direct status=none |
			cmp - "$work/again" || die "$fs: round $round: a write is gone"
	done
	works "$vm" umount "$mnt"
	works "$vm" --stick "$at" check a --deep
	works "$vm" --stick "$at" mount a "$mnt"
	for i in 1 2 3; do
		get $i | cmp - "$work/block$i" || die "$fs: block $i is gone after a new session"
	done
	works "$vm" umount "$mnt"
	works "$vm" --stick "$at" wear a --json
	json 'j["unclean_detaches"]' 0
}

# Used by another session in between: the first does not touch the stick any more.
used_elsewhere() {
	works "$vm" --stick "$at" mount a "$mnt"
	put "$work/block4" 5 fdatasync
	unplug
	put "$work/block3" 6 2>/dev/null || true
	wait_state detached 5
	clear_away
	echo plug >"$sim/ctl"
	kill -STOP "$(findmnt -no SOURCE "$mnt" | sed 's/.*#//')" # it shall not be the first
	plug ext4 "$work/stick3"
	works "$vm" --stick "$at" mount a "$work/mnt2"
	dd if="$work/block1" of="$work/mnt2/disk.raw" bs=64k seek=7 conv=notrunc,fdatasync \
		status=none
	works "$vm" umount "$work/mnt2"
	local before
	before=$(tree_of "$at")
	kill -CONT "$(findmnt -no SOURCE "$mnt" | sed 's/.*#//')"
	sleep 2.5
	[ "$(state)" = detached ] || die "another session was there, and the state is $(state)"
	refused 5 'used elsewhere since it was pulled.*umount --force .* ends it' \
		"$vm" umount "$mnt"
	[ "$(state)" = detached ] || die "the mount was ended, and its unwritten data lost"
	refused 5 'used elsewhere since it was pulled.*is lost' "$vm" umount --force "$mnt"
	! mountpoint -q "$mnt" || die "--force did not end the mount"
	[ "$(tree_of "$at")" = "$before" ] || die "the refused session wrote to the stick"
	works "$vm" --stick "$at" check a --deep
}

# Ended while the stick is gone: not without a word about what is not on it.
gone_for_good() {
	local where
	works "$vm" --stick "$at" mount a "$mnt"
	put "$work/block1" 8 fdatasync
	hold "$work/block2" 9
	unplug # nothing has noticed it yet
	refused 3 'stick of a is gone, and up to [0-9.]+ [KM]iB that were written are not on it' \
		"$vm" umount "$mnt"
	[ "$(state)" = detached ] || die "umount: it is $(state)"
	drop
	clear_away
	echo plug >"$sim/ctl"
	plug ext4 "$work/stick4"
	wait_state ok 15
	works "$vm" umount "$mnt"
	works "$vm" --stick "$at" mount a "$mnt"
	get 9 | cmp - "$work/block2" || die "what umount had refused to lose is gone"

	# All flushed: nothing is lost, but the disk is not closed. Another look: it has come back.
	where=$at
	unplug
	clear_away
	wait_state detached 5
	refused 3 'all that was written had been flushed to it, but the disk was not closed' \
		"$vm" umount "$mnt"
	echo plug >"$sim/ctl"
	plug ext4 "$where"
	wait_state ok 15
	hold "$work/block3" 10
	unplug
	drop
	refused 3 'not flushed before .up to [0-9.]+ [KM]iB. is lost' \
		"$vm" umount --force "$mnt"
	! mountpoint -q "$mnt" || die "--force did not end the mount"
	clear_away
	echo plug >"$sim/ctl"
	plug ext4 "$where"
	works "$vm" --stick "$at" check a --deep

	# Gone, and nothing had noticed, as a rule: all had been flushed.
	works "$vm" --stick "$at" mount a "$mnt"
	put "$work/block3" 11 fdatasync
	unplug
	refused 3 'all that was written had been flushed' "$vm" umount "$mnt"
	! mountpoint -q "$mnt" ||
		refused 3 'all that was written had been flushed' "$vm" umount --force "$mnt"
	clear_away
	echo plug >"$sim/ctl"
	plug ext4 "$where"

	lost_folder "$where"

	# One that wrote nothing has nothing to lose.
	works "$vm" --stick "$at" mount a "$mnt" --read-only
	unplug
	get 8 >/dev/null 2>&1 || true
	works "$vm" umount "$mnt"
	clear_away
	echo plug >"$sim/ctl"
	plug ext4 "$where"
}

# DIR: unmounted by others while its stick is gone: the process keeps what is not on it, says so
# to who asks for the folder, and ends when the stick is back there, or when it is told to.
lost_folder() {
	local server end
	works "$vm" --stick "$at" mount a "$mnt"
	server=$(findmnt -no SOURCE "$mnt" | sed 's/.*#//')
	hold "$work/block1" 12
	unplug
	drop
	clear_away
	umount "$mnt"
	end=$((SECONDS + 5))
	until refuses_lost; do [ $SECONDS -lt $end ] || die "umount: $(cat "$work/err")"; done
	kill -0 "$server" || die "what umount(8) left is gone"
	mkdir -p "$work/empty"
	refused 1 'no disk of stickvm is mounted here' "$vm" umount "$work/empty"
	echo plug >"$sim/ctl"
	plug ext4 "$1"
	wait_gone "$server"
	refused 1 'no disk of stickvm is mounted here' "$vm" umount "$mnt"
	works "$vm" --stick "$at" mount a "$mnt"
	get 12 | cmp - "$work/block1" || die "what was unmounted without its stick is gone"

	# Given up: by umount --force, and by a signal, which before the end of the mount is none.
	for how in force signal; do
		server=$(findmnt -no SOURCE "$mnt" | sed 's/.*#//')
		hold "$work/block2" 12
		unplug
		drop
		clear_away
		if [ $how = force ]; then umount "$mnt"; else kill -TERM "$server"; fi
		end=$((SECONDS + 5))
		until refuses_lost; do
			[ $SECONDS -lt $end ] || die "umount: $(cat "$work/err")"
		done
		if [ $how = force ]; then
			refused 3 'not flushed before .up to [0-9.]+ [KM]iB. is lost' \
				"$vm" umount --force "$mnt"
		else
			kill -TERM "$server"
		fi
		wait_gone "$server"
		echo plug >"$sim/ctl"
		plug ext4 "$1"
		works "$vm" --stick "$at" check a --deep
		works "$vm" --stick "$at" mount a "$mnt"
		get 12 | cmp - "$work/block1" || die "what was flushed is gone"
	done
	works "$vm" umount "$mnt"
}

refuses_lost() {
	! "$vm" umount "$mnt" >"$work/out" 2>"$work/err" &&
		grep -Eq 'unmounted while its stick was gone, and up to [0-9.]+ [KM]iB .*--force' \
			"$work/err"
}

# PID: a process that is no child of this one.
wait_gone() {
	local end=$((SECONDS + 15))
	while kill -0 "$1" 2>/dev/null; do
		[ $SECONDS -lt $end ] || die "process $1 has not ended"
		sleep 0.1
	done
}

pull_and_go_on ext4 mkfs.ext4 -q
used_elsewhere
gone_for_good
umount "$at"
losetup -d "$loop"
loop='' at=''
umount "$sim"
pull_and_go_on exfat mkfs.exfat

echo "yank_mount: ok"
