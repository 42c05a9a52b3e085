# SPDX-License-Identifier: GPL-2.0-or-later
# lib.bash: what the parts of tools/bench share: sticks, waiting, measuring, results.

dir=''              # everything of this unit
sim='' fs='' disk_dir='' # the simulator's files, the stick's file system, where a disk is shown
lines=''            # a JSON object each
loop='' server='' stick='' disk=''

bench_begin() {
	dir=$(mktemp -d)
	sim=$dir/sim fs=$dir/fs disk_dir=$dir/disk lines=$dir/lines
	mkdir "$sim" "$fs" "$disk_dir"
	: >"$lines"
	exec 3>&1 # the results; what else is said is for people
	export XDG_CACHE_HOME=$dir/xdg XDG_STATE_HOME=$dir/xdg
	trap cleanup EXIT
	trap 'exit 130' INT TERM
}

unmount() {
	local _
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		mountpoint -q "$1" || return 0
		umount "$1" 2>/dev/null && return 0
		sleep 0.5
	done
	umount -l "$1"
}

stop_server() {
	local pid=$server
	server=''
	[ -n "$pid" ] || return 0
	kill "$pid" 2>/dev/null || true
	while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
}

cleanup() {
	set +e
	[ -e "$sim/ctl" ] && ctl latency off
	[ -d "$disk_dir" ] && unmount "$disk_dir"
	[ -e "$dir/image" ] && mountpoint -q "$dir/image" && unmount "$dir/image"
	stop_server
	mountpoint -q "$fs" && unmount "$fs"
	[ -n "$loop" ] && losetup -d "$loop"
	mountpoint -q "$sim" && unmount "$sim"
	cat "$lines" >&3 # also of a unit that failed halfway
	rm -rf "$dir"
}

ctl() { echo "$*" >"$sim/ctl"; }

size_bytes() { numfmt --from=iec "$1"; }

wait_for() {
	local _
	for _ in $(seq 200); do
		"$@" && return 0
		sleep 0.1
	done
	note "gave up waiting: $*"
	return 1
}

# --- the stick ---

# PROFILE FILESYSTEM
plug_stick() {
	stick=$1
	"$bin/flashsim" --profile "$stick" --size "$stick_size" --latency off "$sim"
	loop=$(losetup -f --show --direct-io=on "$sim/stick.img")
	case $2 in
	ext4)
		mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$loop"
		mount "$loop" "$fs"
		;;
	# What who knows it would take for images on a stick: zstd at its quickest for all of a file,
	# since "compress" gives a file up after its first piece that does not shrink; a disk's one
	# copy of metadata; free space taken in large pieces; no times of access. No nodatacow: that
	# excludes compression and checks.
	btrfs)
		mkfs.btrfs -q -m single "$loop" >/dev/null 2>&1
		mount -o compress-force=zstd:1,ssd_spread,noatime "$loop" "$fs"
		;;
	exfat) mkfs.exfat "$loop" >/dev/null && mount.exfat-fuse "$loop" "$fs" 2>/dev/null ;;
	ntfs) mkntfs -qQ "$loop" >/dev/null 2>&1 && ntfs-3g "$loop" "$fs" ;;
	none) ;;
	esac
}

unplug_stick() {
	ctl latency off
	unmount "$fs"
	losetup -d "$loop" 2>/dev/null || note "$loop was detached by someone else"
	loop=''
	unmount "$sim"
}

geometry_of() { sed -n "s/^ \"$1\": \([0-9]*\),$/\1/p" "$sim/stats.json"; }

# Until nobody has written to the stick for a second, and the host's file system has put its
# journal where it belongs (it waits half a minute for that): what was put off is done then, for
# every contender alike.
settle() {
	local before=none now _
	! mountpoint -q "$fs" || sync -f "$fs"
	for _ in $(seq 60); do
		now=$(sed -n 's/^ "written_bytes": \([0-9]*\),*$/\1/p' "$sim/stats.json")
		[ "$now" != "$before" ] || return 0
		before=$now
		sleep 1
	done
}

# --- measuring ---

load() { "$bin/bench-load" "$1" "$disk" --span "$span" "${@:2}"; }

# One line of the results: stick, contender, workload, then names and JSON values.
put() {
	printf '{"stick": "%s", "contender": "%s", "workload": "%s"' "$1" "$2" "$3"
	shift 3
	while [ $# -gt 1 ]; do
		printf ', "%s": %s' "$1" "$2"
		shift 2
	done
	echo '}'
} >>"$lines"

rates() { sed 's/.*"iops": \([^,]*\), "mb_s": \([^,]*\),.*/\1 IOPS, \2 MB\/s/' <<<"$1"; }

# The simulator's counters, without the long ones.
stats() { jq -c 'del(.erase_histogram)' "$sim/stats.json"; }

# What the engine says that it wrote, where it is the contender.
ledger() {
	if [ -e "$disk_dir/status.json" ]; then
		jq -c .ledger "$disk_dir/status.json"
	else
		echo null
	fi
}

# A stick that does few a second is measured for longer.
slow_seconds() { case $stick in P0 | P1 | P2) echo $((seconds * 2)) ;; *) echo "$seconds" ;; esac }

# CONTENDER WORKLOAD LOAD...: with the stick's own speed, its counters from zero, an idle cache,
# and nothing of it in the host's memory.
measure() {
	local contender=$1 workload=$2 result=$dir/result before
	shift 2
	settle
	echo 3 >/proc/sys/vm/drop_caches
	ctl idle 3600
	before=$(ledger)
	ctl reset
	ctl latency on
	if ! load "$@" >"$result"; then
		note "$stick $contender $workload: FAILED"
		ctl latency off
		return 0
	fi
	ctl latency off
	put "$stick" "$contender" "$workload" load "$(cat "$result")" stats "$(stats)" \
		before "$before" after "$(ledger)"
	note "$stick $contender $workload: $(rates "$(cat "$result")")"
}
