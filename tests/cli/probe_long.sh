#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# probe --quick on simulated sticks with their real latency: under 20 s, and right. A host that is
# busy hides 100 us and more, so each gets three tries; the time counts in all of them.
# test-labels: once long
. "${SRC:?the source tree}/tests/support/cli.sh"

export XDG_STATE_HOME=$work/state
sim=$work/sim fs=$work/fs
mkdir "$sim" "$fs"

plug() { # PROFILE OPTION...
	"$BIN/flashsim" --profile "$@" --latency off "$sim"
	at_end umount -l "$sim"
	loop=$(losetup -f --show --direct-io=on "$sim/stick.img")
	at_end losetup -d "$loop"
}

format() {
	mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$loop"
	mount "$loop" "$fs"
	at_end umount -l "$fs"
	works "$vm" init --no-probe "$fs"
	sync -f "$fs"
}

pull() {
	if mountpoint -q "$fs"; then umount "$fs"; fi
	losetup -d "$loop"
	umount "$sim"
}

right() { # UNIT METHOD OPEN
	local got
	got=$(python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); print(
		j["erase_unit_bytes"], j["erase_unit_method"], j["open_units"])' "$work/out")
	[ "$got" = "$*" ] || {
		echo "  found $got, not $*"
		return 1
	}
}

quick() { # PROFILE UNIT METHOD OPEN [OPTION...]
	local start took profile=$1 try
	plug "$1" --size 3G "${@:5}"
	format
	echo latency on >"$sim/ctl"
	for try in 1 2 3; do
		start=$(date +%s%N)
		works "$vm" probe "$fs" --quick --yes --json
		took=$((($(date +%s%N) - start) / 1000000))
		echo "$profile: $took ms"
		[ "$took" -lt 20000 ] || die "$profile: $took ms"
		! right "$2" "$3" "$4" || break
		[ $try != 3 ] || die "$profile: three times wrong"
	done
	echo latency off >"$sim/ctl"
	grep -q "^  open_units: $4$" "$fs/stickvm/stick.yaml" || die "$profile: not kept"
	pull
}

quick P0 4194304 writes 3
quick P1 8388608 writes 1
quick P2 4194304 writes 2
quick P3 4194304 writes 4
quick P4 8388608 assumed 4
quick P4 8388608 reads 4 --boundaries
quick P6 16777216 reads 4 --boundaries
echo "probe_long: ok"
