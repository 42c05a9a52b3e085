# SPDX-License-Identifier: GPL-2.0-or-later
# part-boot.bash: a guest's boot, until it says that it is ready.

boot_guest() {
	local contender=$1 start took serial=$dir/serial
	shift
	: >"$serial"
	echo 3 >/proc/sys/vm/drop_caches
	settle
	ctl reset
	ctl latency on
	start=$(date +%s%N)
	qemu-system-x86_64 -accel tcg -machine q35 -cpu Westmere-v1 -m 1G -nodefaults \
		-display none -serial "file:$serial" "$@" -device virtio-blk-pci,drive=disk &
	server=$!
	until grep -aq 'stickvm-guest: ready' "$serial"; do
		kill -0 "$server" 2>/dev/null || { note "$contender: QEMU ended" && return 1; }
		sleep 0.05
	done
	took=$((($(date +%s%N) - start) / 1000000))
	put "$stick" "$contender" boot boot "{\"ms\": $took}" \
		stats "$(stats)"
	note "$stick $contender boot: $took ms"
	stop_server 2>/dev/null
	ctl latency off
}

file_node() { echo "driver=file,filename=$1,cache.direct=on,aio=native"; }

boot_ours() {
	plug_stick "$1" ext4
	"$bin/stickvm" init --no-probe "$fs" >/dev/null
	"$bin/stickvm" --stick "$fs" create bench --from "$guest" >/dev/null 2>&1
	start_ours
	boot_guest ours -blockdev "$(file_node "$disk"),node-name=disk"
	stop_ours
	unplug_stick
}

boot_qcow2() {
	plug_stick "$1" ext4
	qemu-img convert -O qcow2 -o lazy_refcounts=on "$guest" "$fs/disk.qcow2"
	sync -f "$fs"
	boot_guest qcow2-lazy -blockdev "$(file_node "$fs/disk.qcow2"),node-name=file" \
		-blockdev driver=qcow2,node-name=disk,file=file,cache.direct=on
	unplug_stick
}

part_boot() {
	if [ ! -s "$guest" ]; then
		note "boot: left out, --guest was not given"
		return 0
	fi
	boot_qcow2 "$1"
	boot_ours "$1"
}
