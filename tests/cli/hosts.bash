# SPDX-License-Identifier: GPL-2.0-or-later
# hosts.bash: hosts that share a stick, as namespaces of mounts and names; QEMU is played by a
# script.
# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR source=yank.bash
. "$(dirname "${BASH_SOURCE[0]}")/yank.bash"

export STICKVM_QEMU=$SRC/tests/support/fake_qemu.py
declare -A host

# NAME: a host of this name, as the process that holds its namespaces.
make_host() {
	mkdir -m 700 "$work/run-$1"
	unshare --mount --uts --propagation private sleep infinity &
	host[$1]=$!
	at_end "kill ${host[$1]}"
	until [ "$(readlink "/proc/${host[$1]}/ns/uts")" != "$(readlink /proc/self/ns/uts)" ]; do
		sleep 0.05
	done
	nsenter -t "${host[$1]}" -u hostname "$1"
}

# NAME COMMAND...: there. Its root and working folder are the host's, too: entering a namespace of
# mounts alone leads to the top of it, which is not these tests' root where they run in a chroot.
on() {
	local name=$1
	shift
	XDG_DATA_HOME=$work/data-$name XDG_RUNTIME_DIR=$work/run-$name FAKE_LOG=$work/told-$name \
		nsenter -t "${host[$name]}" -m -u -r -w -- "$@"
}

# NAME: mounts the stick there and nowhere else.
plug_into() {
	plugs=$((plugs + 1))
	loop=$(losetup -f --show --direct-io=on "$sim/stick.img") || die "no loop device"
	mnt=$work/mnt$plugs
	mkdir "$mnt"
	at_end "drop_loop '$loop'"
	on "$1" mount "$loop" "$mnt"
}

unplug_from() {
	on "$1" umount -l "$mnt"
	drop_loop "$loop"
}

# NAME: starts the VM there; its pid is in `run`.
start_on() {
	local name=$1
	shift
	: >"$work/words" # or what the run before said would be heard
	env XDG_DATA_HOME="$work/data-$name" XDG_RUNTIME_DIR="$work/run-$name" \
		FAKE_LOG="$work/told-$name" FAKE="${FAKE:-presses}" \
		nsenter -t "${host[$name]}" -m -u -r -w -- \
		"$vm" --stick "$mnt" run g --accel tcg "$@" >"$work/words" 2>&1 </dev/null &
	run=$!
	at_end "end_run $run"
	[ -n "${FAKE-}" ] || wait_line 'g runs' "$work/words"
}

store_bytes() {
	on "$1" sh -c "cat '$mnt'/stickvm/vms/g/disk/* | sha256sum"
}
