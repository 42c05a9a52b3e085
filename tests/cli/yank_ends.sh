#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# yank_ends: what the user of a frozen VM can do: wait, ask again, end it, also from a shell that
# finds no stick; and that a frozen VM is told nothing but `stop` until its stick is back. QEMU is
# played by a script.
# test-labels: once
# test-locks: guest
# shellcheck source-path=SCRIPTDIR source=yank.bash
. "$(dirname "$0")/yank.bash"

export STICKVM_QEMU=$SRC/tests/support/fake_qemu.py FAKE=presses FAKE_LOG=$work/told
start_sim --profile P5 --size 1G
make_fs ext4
plug_in
works "$vm" init "$mnt"
works "$vm" --stick "$mnt" create g --size 64M --ram 256M --cpu roam

# Pulls the stick and lets the store notice: a flush fails.
lose_stick() {
	local disk
	disk=$(echo "$XDG_RUNTIME_DIR"/stickvm/*/disk)/disk.raw
	pull
	! dd if=/dev/urandom of="$disk" bs=64K count=1 oflag=direct conv=fsync 2>"$work/err" ||
		die "a flush without a stick"
}

state() {
	local socket
	socket=$(echo "$XDG_RUNTIME_DIR"/stickvm/*/control.sock)
	echo '{"do": "status"}' | socat -t 2 - "UNIX:$socket" |
		python3 -c 'import json,sys; print(json.load(sys.stdin)["state"])'
}

# What the user's terminal is told to do comes through a pipe of one line each.
mkfifo "$work/keys"
python3 - "$vm" "$mnt" "$work/keys" >"$work/words" <<'END' &
import sys
from pty_talk import Talk
vm, mnt, keys = sys.argv[1:]
t = Talk(vm, "--stick", mnt, "run", "g", "--accel", "tcg")
t.expect(rb"g runs")
print("runs", flush=True)
for line in open(keys):
    what, _, text = line.rstrip("\n").partition(" ")
    if what == "send":
        t.send(eval("b'" + text + "'"))
    elif what == "ends":
        t.ends(int(text), 20)
    else:
        t.expect(text.encode())
    print(line, end="", flush=True)
END
run=$!
at_end "end_run $run"
exec 9>"$work/keys"
tell() {
	echo "$*" >&9
	wait_line "^${*//[\\?]/.}\$" "$work/words" 20
}
wait_line runs "$work/words" 20

lose_stick
tell expect the stick is gone: the VM is frozen
[ "$(state)" = frozen ] || die "its state is $(state)"
tell send '\x03'
tell expect End it now
tell send '\n'
kill -0 $run || die "it ended although its user waits"
forget_mount
plug
tell expect the stick is back
[ "$(state)" = running ] || [ "$(state)" = paused ] || die "its state is $(state)"
wait_line cont "$FAKE_LOG" 5
! grep -qx system_powerdown "$FAKE_LOG" || die "a frozen guest was asked to power off"

lose_stick
tell expect the stick is gone: the VM is frozen
tell send '\x03'
tell expect End it now
tell send 'e\n'
tell expect ended without its stick
tell ends 3
exec 9>&-
wait_end $run 0 20
[ "$(grep -cx cont "$FAKE_LOG")" = 1 ] || die "let go on without its stick"
grep -qx quit "$FAKE_LOG" || die "not told to quit"
nothing_left
forget_mount
plug
works "$vm" --stick "$mnt" check g --deep

# From another terminal, where its folder is gone with the stick.
"$vm" --stick "$mnt" run g --accel tcg >"$work/again" 2>&1 &
run=$!
at_end "end_run $run"
wait_line 'g runs' "$work/again" 20
lose_stick
wait_line 'the VM is frozen' "$work/again" 20
gone=$mnt
forget_mount
refused 3 'stick' "$vm" --stick "$gone" stop other --force --timeout 1
refused 1 'stop: g: ended without its stick' "$vm" --stick "$gone" stop g --force --timeout 1
wait_end $run 3 20
nothing_left
plug
works "$vm" --stick "$mnt" check g --deep
