# SPDX-License-Identifier: GPL-2.0-or-later
# part-replay.bash: the recorded boot of a Debian, each request after the one before it; how long it
# waits in all, the clock running from the moment at which the disk's server is started.

trace=$root/tools/trace.d/debian-boot.trace.zst
replay() { "$bin/bench-replay" "$@" "$trace" "$disk"; }
# The same boot of a guest whose files have all moved: reads of blocks that hold data, too.
shifted=(--shift 20000)

make_image() {
	[ -s "$dir/before.raw" ] || "$bin/bench-replay" --image "$trace" "$dir/before.raw"
}

# CONTENDER WORKLOAD COMMAND...: the command serves the disk. A workload that begins with "shift"
# is the one of files that have moved.
measure_boot() {
	local contender=$1 workload=$2 start served waited how=()
	shift 2
	[[ $workload != shift* ]] || how=("${shifted[@]}")
	settle
	echo 3 >/proc/sys/vm/drop_caches
	ctl idle 3600
	ctl reset
	ctl latency on
	start=$(date +%s%N)
	"$@"
	served=$((($(date +%s%N) - start) / 1000000))
	replay "${how[@]}" >"$dir/result"
	ctl latency off
	waited=$(jq --argjson ms $served '.wait_s + $ms / 1000' "$dir/result")
	put "$stick" "$contender" "$workload" replay "$(cat "$dir/result")" wait_s "$waited" \
		stats "$(stats)"
	note "$stick $contender $workload: waited $waited s, $served ms of them for the server"
}

replay_qcow2() {
	plug_stick "$1" ext4
	qemu-img convert -O qcow2 "$dir/before.raw" "$fs/disk.qcow2"
	measure_boot qcow2 replay start_qcow2
	stop_qcow2
	unplug_stick
}

replay_btrfs() {
	plug_stick "$1" btrfs
	cp --sparse=always "$dir/before.raw" "$fs/disk.raw"
	measure_boot btrfs replay start_btrfs
	stop_btrfs
	unplug_stick
}

mount_ours() {
	"$bin/stickvm" --stick "$fs" mount bench "$disk_dir" --cache "$1" >/dev/null
	wait_for test -e "$disk_dir/disk.raw"
	disk=$disk_dir/disk.raw
}

# Booted before, so that what a boot reads is known; then packed in quiet.
boot_before() {
	mount_ours "$1"
	replay --divide 1000 >/dev/null
	sleep 2
	stop_ours
}

replay_ours() {
	plug_stick "$1" ext4
	ctl latency on # a sweep reads over what is shorter than a seek: so it must be known
	"$bin/stickvm" init "$fs" >/dev/null
	ctl latency off
	"$bin/stickvm" --stick "$fs" create bench --from "$dir/before.raw" >/dev/null 2>&1
	measure_boot ours shift-unknown mount_ours off # nothing is known of it
	stop_ours
	boot_before off
	boot_before off
	measure_boot ours replay mount_ours off
	stop_ours
	measure_boot ours shift mount_ours off # what is known is of no use
	stop_ours
	boot_before 2G
	boot_before 2G
	sync -f "$dir"
	measure_boot ours replay-warm mount_ours 2G
	stop_ours
	unplug_stick
}

# The same image as a raw file on this host's disk, by QEMU's server.
replay_host() {
	plug_stick "$1" ext4
	sync -f "$dir"
	measure_boot raw replay-warm start_qemu raw "$dir/before.raw"
	stop_qemu
	unplug_stick
}

part_replay() {
	[ -x "$bin/bench-replay" ] && [ -s "$trace" ] || { note "replay: left out" && return; }
	make_image
	replay_qcow2 "$1"
	replay_btrfs "$1"
	replay_ours "$1"
	replay_host "$1" # last: it writes to the image
}
