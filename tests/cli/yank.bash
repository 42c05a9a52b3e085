# SPDX-License-Identifier: GPL-2.0-or-later
# yank.bash: what the tests of a pulled stick share: a simulated stick, pulled and plugged in
# again at another node and another mount point; a guest that writes and verifies all the time.
# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=run.bash
. "$(dirname "${BASH_SOURCE[0]}")/run.bash"

if [ "$(id -u)" != 0 ]; then
	echo "needs root for loop devices and mounts; not run"
	exit 77
fi
sim=$work/sim # the simulated stick, seen by the "kernel"
plugs=0       # how often it was plugged in
mnt=          # where it is mounted now
loop=         # its node now

# [OPTIONS OF flashsim]
start_sim() {
	mkdir "$sim"
	"$BIN/flashsim" --latency off "$@" "$sim" || die "flashsim"
	at_end "umount -l '$sim'"
}

mount_stick() {
	case $(blkid -p -o value -s TYPE "$loop") in
	exfat) mount.exfat-fuse -o nonempty "$loop" "$mnt" >/dev/null 2>&1 ;;
	ntfs) ntfs-3g "$loop" "$mnt" >/dev/null 2>&1 ;;
	*)
		# Its superblock is two sectors; where the pull came in between, it wants to be mended.
		mount "$loop" "$mnt" 2>"$work/mount.log" && return
		e2fsck -fy "$loop" >>"$work/mount.log" 2>&1
		mount "$loop" "$mnt"
		;;
	esac
}

# NODE: detaches it if it is still this stick: numbers are used again, also by others.
drop_loop() {
	case $(losetup -n -O BACK-FILE "$1" 2>/dev/null) in
	"$work"/*stick.img*) losetup -d "$1" ;;
	esac
}

# Makes a file system of this kind on it, before its first mount.
make_fs() {
	loop=$(losetup -f --show --direct-io=on "$sim/stick.img")
	at_end "drop_loop '$loop'"
	case $1 in
	ext4) mkfs.ext4 -q -m 0 "$loop" ;;
	exfat) mkfs.exfat "$loop" >/dev/null ;;
	ntfs) mkfs.ntfs -Q -q "$loop" >/dev/null 2>&1 ;;
	esac
	drop_loop "$loop"
}

# Another loop device than the last one's, as a stick that comes back gets another node: the
# first free one is taken by a file of our own meanwhile.
plug_in() {
	local other=
	plugs=$((plugs + 1))
	if [ $((plugs % 2)) = 0 ]; then
		truncate -s 1M "$work/other"
		other=$(losetup -f --show "$work/other")
	fi
	loop=$(losetup -f --show --direct-io=on "$sim/stick.img") || die "no loop device"
	[ -z "$other" ] || losetup -d "$other"
	mnt=$work/mnt$plugs
	mkdir "$mnt"
	at_end "umount -l '$mnt'; drop_loop '$loop'"
	mount_stick || die "the stick cannot be mounted again"
}

pull() {
	echo unplug >"$sim/ctl"
}

# What the desktop does once it sees that the stick is gone.
forget_mount() {
	umount -l "$mnt"
	drop_loop "$loop"
	mnt=
}

plug() {
	echo plug >"$sim/ctl"
	plug_in
}

guest_says_bad() {
	# shellcheck disable=SC2016 # in the guest
	echo 'bad() { [ -e /run/stopping ] || echo "BAD $*"; }'
}

# The guest's job: round after round it writes a file that it can make again, flushes, and reads
# back what it wrote in the rounds before, past its own cache. It says every error that it sees until
# it is powered off: its file systems go before its job does.
busy_guest() {
	guest_says_bad
	cat <<'END'
mkdir -p /d
bytes() { yes "stickvm yank round $1 $(($1 * 7919))" | head -c 1500000; }
for i in 0 1 2 3 4 5; do bytes $i >/d/$i; echo $i >/d/$i.round; done
sync
i=6
while :; do
	n=$((i % 6))
	bytes $i >/d/$n.new && sync && mv /d/$n.new /d/$n && echo $i >/d/$n.round || bad "write $i"
	echo 3 >/proc/sys/vm/drop_caches
	for n in 0 1 2 3 4 5; do
		was=$(cat /d/$n.round)
		[ "$(bytes $was | md5sum)" = "$(md5sum </d/$n)" ] || bad "round $i file $n"
	done
	errors=$(dmesg | grep -ciE 'I/O error|EXT4-fs error|aborting|lost async')
	[ $errors = 0 ] || { bad kernel; dmesg | tail -5; }
	echo "round $i ok time=$(date +%s)"
	i=$((i + 1))
done
END
}

# NAME FILE: the number of rounds that the guest has finished.
rounds() {
	grep -ac '^round ' "$serial"
}

# COUNT: waits for so many rounds more.
more_rounds() {
	local want=$(($(rounds) + $1)) end=$((SECONDS + ${2:-120}))
	until [ "$(rounds)" -ge $want ]; do
		[ $SECONDS -lt $end ] || die "the guest does not go on: $(tail -n 3 "$serial" "$work/words")"
		no_error
		sleep 0.1
	done
}

no_error() {
	! grep -a BAD "$serial" || die "the guest saw an error: $(tail -n 20 "$serial")"
}

# PATTERN COUNT [SECONDS]: waits until stickvm has said it so often.
said() {
	local end=$((SECONDS + ${3:-30}))
	until [ "$(grep -Ec -- "$1" "$work/words")" -ge "$2" ]; do
		[ $SECONDS -lt $end ] || die "not said $2 times: $1: $(cat "$work/words")"
		sleep 0.1
	done
}

# The guest's clock, as of its next round, is within 2 s of this host's.
clock_is_right() {
	local ahead
	more_rounds 1
	ahead=$(grep -a '^round ' "$serial" | tail -n 1 | sed -n 's/.*time=\([0-9]*\).*/\1/p')
	ahead=$((ahead - $(date +%s)))
	if [ $ahead -lt -2 ] || [ $ahead -gt 2 ]; then
		die "the guest's clock is off by $ahead s"
	fi
}

# Words for QEMU besides those of the job.
boot=()

# [OPTIONS OF run]: starts the VM with its job, anew; its pid is in `run`.
start_job() {
	fresh
	serial=$work/serial
	"$vm" --stick "$mnt" run g --accel tcg --serial "$serial" "$@" -- "${job[@]}" "${boot[@]}" \
		>"$work/words" 2>&1 </dev/null &
	run=$!
	at_end "end_run $run"
}

# Starts the VM with the busy guest.
start_busy() {
	make_job < <(busy_guest)
	start_job
	wait_line "round .* ok" "$serial" 180
}

# A stick whose settings lie on its first half GiB, and a VM's disk behind them. The kernel of some
# hosts makes no partitions of a loop device, so they are loop devices with an offset each.
raw=
raw_loop() {
	losetup -f --show --direct-io=on --offset $((512 << 20)) --sizelimit $((1500 << 20)) \
		"$sim/stick.img"
}

# Another node than before, whose name a file of our own has meanwhile, if nobody else took it.
plug_raw() {
	local before=$raw
	truncate -s 1M "$work/taken"
	[ -z "$before" ] || losetup "$before" "$work/taken" 2>/dev/null || before=
	raw=$(raw_loop) || die "no loop device"
	[ -z "$before" ] || losetup -d "$before"
	at_end "drop_loop '$raw'"
}

# Such a stick, plugged in for the first time.
start_raw() {
	local first
	start_sim --profile P5 --size 2G --cut drop=30,reorder
	first=$(losetup -f --show --direct-io=on --sizelimit $((512 << 20)) "$sim/stick.img")
	mkfs.ext4 -q -m 0 "$first"
	losetup -d "$first"
	plug_raw
	plug_in
}

# It stays as long as somebody looks at it.
drop_raw() {
	while [[ $(losetup -n -O BACK-FILE "$raw" 2>/dev/null) = *"$sim/stick.img"* ]]; do
		drop_loop "$raw"
		sleep 0.1
	done
}

# A real partition has a lasting name, to which its user has agreed for good.
raw_is_here() {
	sed -i "s|^place: .*|place: $raw|" "$mnt/stickvm/vms/g/vm.yaml"
}

# One pull of NUMBER, for SECONDS, with whatever may happen in between.
one_pull() {
	local number=$1
	pull
	said 'g: the stick is gone: the VM is frozen' "$number"
	sleep "$2"
	forget_mount
	plug
	said 'g: the stick is back' "$number" 60
	no_error
}

# The guest's file system and the store are whole.
all_whole() {
	export STICKVM_STICK=$mnt
	intact
	mkdir -p "$work/disk"
	works "$vm" mount g "$work/disk" --read-only
	e2fsck -fn "$work/disk/disk.raw?offset=1048576" >"$work/out" 2>&1 ||
		die "the guest's file system: $(cat "$work/out")"
	works "$vm" umount "$work/disk"
}

# FILE-SYSTEM BUS PULLS [OPTIONS OF flashsim]
series() {
	local fs=$1 bus=$2 pulls=$3 seconds n
	shift 3
	umount -l "$sim" 2>/dev/null || true
	sim=$work/sim-$fs-$bus
	start_sim --profile P5 --size 2G "$@"
	make_fs "$fs"
	plug_in
	make_stick "$mnt"
	unset STICKVM_STICK
	"$vm" --stick "$mnt" set g "bus=$bus"
	start_busy
	for ((n = 1; n <= pulls; n++)); do
		seconds=$((n == 7 ? 75 : n % 4))
		one_pull $n $seconds
		more_rounds $((n % 3))
		[ $seconds -lt 3 ] || clock_is_right
	done
	more_rounds 2
	kill -TERM $run
	wait_end $run 0 60
	no_error
	nothing_left
	all_whole
	echo "$fs, $bus: $pulls pulls, $(rounds) rounds of the guest, no error"
	umount -l "$mnt"
	drop_loop "$loop"
}
