# SPDX-License-Identifier: GPL-2.0-or-later
# run.bash: what the tests of `run` and `stop` share: a stick with a small guest, and waiting.
# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=../support/cli.sh
. "${SRC:?the source tree}/tests/support/cli.sh"

# Sockets and mounts of these runs lie in a run-time folder of their own.
export XDG_RUNTIME_DIR=$work/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
export PYTHONPATH=$SRC/tests/support PYTHONDONTWRITEBYTECODE=1

# [OPTIONS OF tools/guest]: makes the image of the small guest once; the tests copy from it.
guest_image() {
	local cache=${STICKVM_GUEST_CACHE:-$SRC/build/guest}
	guest=$work/guest.img
	"$SRC/tools/guest" --cache "$cache" --size 512M "$@" "$guest" >"$work/guest.log" 2>&1 ||
		die "tools/guest: $(tail -n 3 "$work/guest.log")"
}

# [FOLDER]: a stick there (default: $work/stick) that holds the VM "g".
make_stick() {
	stick=${1:-$work/stick}
	mkdir -p "$stick"
	export STICKVM_STICK=$stick
	works "$vm" init "$stick"
	"$vm" create g --from "$guest" --ram 256M --cpus 1 --cpu roam >"$work/out" 2>&1 ||
		die "create: $(cat "$work/out")"
}

# A job for the guest from standard input, as the words for QEMU in `job`.
make_job() {
	cat >"$work/job"
	job=(-fw_cfg "name=opt/stickvm/job,file=$work/job")
}

# PATTERN FILE [SECONDS]: waits until a line of the file matches.
wait_line() {
	local end=$((SECONDS + ${3:-120}))
	until grep -aEq -- "$1" "$2" 2>/dev/null; do
		[ $SECONDS -lt $end ] || die "no '$1' in $2: $(tail -n 5 "$2" 2>/dev/null)"
		sleep 0.1
	done
}

# PID STATUS [SECONDS]: waits until a child of this shell ends, with this status.
wait_end() {
	local end=$((SECONDS + ${3:-120})) status=0
	while kill -0 "$1" 2>/dev/null; do
		[ $SECONDS -lt $end ] || die "process $1 did not end"
		sleep 0.1
	done
	wait "$1" || status=$?
	[ "$status" = "$2" ] || die "process $1 ended with $status, not $2: $(cat "$work"/words 2>&1)"
}

# Before each run: what the last one said must not be taken for this one's.
fresh() {
	rm -f "$work/words" "$work/serial" "$work/stdout"
}

# PID: ends a run that a failed test leaves behind, at once.
end_run() {
	kill "$1" || return 0
	sleep 0.5
	kill "$1"
	wait "$1"
}

# Nothing of a session is left on the host: no mount, no socket, no process.
nothing_left() {
	local left
	! grep -q "$XDG_RUNTIME_DIR" /proc/mounts || die "a mount is left"
	left=$(find "$XDG_RUNTIME_DIR" -type s)
	[ -z "$left" ] || die "sockets are left: $left"
	! pgrep -f "qemu.*$XDG_RUNTIME_DIR" >/dev/null || die "QEMU is left"
}

# The disk is whole.
intact() {
	"$vm" check g --deep >"$work/out" 2>&1 || die "check: $(cat "$work/out")"
}

# PID: the QEMU of this stickvm run.
qemu_of() {
	pgrep -P "$1" -f qemu-system
}
