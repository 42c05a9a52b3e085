# SPDX-License-Identifier: GPL-2.0-or-later
# part-beside.bash: who waits for whom: reads beside writes, writes beside flushes.

# QEMU's own server answers a FUSE request before it takes the next; over NBD it has many under way.
start_qcow2-nbd() {
	qemu-img create -q -f qcow2 -o lazy_refcounts=on "$fs/disk.qcow2" "$span"
	qemu-storage-daemon --daemonize --pidfile "$dir/qemu.pid" --blockdev \
		"driver=file,node-name=file,filename=$fs/disk.qcow2,cache.direct=on,aio=native" \
		--blockdev driver=qcow2,node-name=disk,file=file,cache.direct=on \
		--nbd-server "addr.type=unix,addr.path=$dir/nbd,max-connections=8" \
		--export type=nbd,id=nbd,node-name=disk,name=disk,writable=on
	server=$(cat "$dir/qemu.pid")
	disk="nbd+unix:///disk?socket=$dir/nbd"
}
stop_qcow2-nbd() { stop_qemu; }

# Without the cache in memory: a read is a read of the stick.
start_ours-ram() { serve --create "$(size_bytes "$span")" --ram 1 "$fs/store"; }
stop_ours-ram() { stop_serving; }

# CONTENDER WORKLOAD "LOAD" LOAD...: the second, measured beside the first.
measure_beside() {
	local contender=$1 workload=$2 other=$3 pid result=$dir/result
	shift 3
	settle
	echo 3 >/proc/sys/vm/drop_caches
	ctl idle 3600
	ctl reset
	ctl latency on
	# What it could put into memory while the stick was fast is on its way after some seconds.
	load $other --seconds $((seconds + 9)) >"$dir/other" &
	pid=$!
	sleep 8
	load "$@" --seconds "$seconds" >"$result" || note "$stick $contender $workload: FAILED"
	wait $pid || note "$stick $contender $workload: the load beside FAILED"
	ctl latency off
	put "$stick" "$contender" "$workload" load "$(cat "$result")" other "$(cat "$dir/other")"
	note "$stick $contender $workload: $(sed 's/.*"p50/p50/; s/[}"]//g' <"$result")," \
		"beside $(rates "$(cat "$dir/other")")"
}

beside_contender() {
	local c=$1 half from
	half=$(($(size_bytes "$span") / 2))
	from="--from $half"
	plug_stick "$2" "$(fs_of "$c")"
	"start_$c"
	load fill >/dev/null
	# Half of it some times over: nothing is new any more, and files have grown.
	span=$half load seqwrite --ops $((3 * half >> 20)) >/dev/null
	span=$half measure_beside "$c" reads-beside-order "seqwrite" randread $from
	if [ "$2" = P1 ]; then
		span=$half measure_beside "$c" reads-beside-random "randwrite --fsync 16" \
			randread $from
	fi
	span=$half measure_beside "$c" writes-beside-flushes "seqwrite --fsync 1" randwrite $from \
		--pause 2000
	"stop_$c"
	unplug_stick
}

# On the cheap ones and a better one; the others are not made slow by one large write.
part_beside() {
	local c
	case $1 in P[0-3]) ;; *) return 0 ;; esac
	"$bin/bench-load" 2>&1 | grep -q -e --from || { note "bench-load cannot: left out" && return; }
	for c in $(wanted qcow2-lazy qcow2-nbd ours-ram); do
		beside_contender "$c" "$1"
	done
	[ -x "$bin/bench-beside" ] || return 0
	"$bin/bench-beside" "$1" "$seconds" >"$dir/result"
	put "$1" ours library-beside beside "$(cat "$dir/result")"
	note "$1 by the library: $(cat "$dir/result")"
}
