#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# run: boots under TCG from the log through FUSE; serial byte for byte; stop; the lock; dry runs.
# test-labels: once
# test-locks: guest
# shellcheck source-path=SCRIPTDIR source=run.bash
. "$(dirname "$0")/run.bash"

guest_image
make_stick "$work/stick"

# A dry run starts nothing and says everything.
works "$vm" run g --dry-run
says '^. accel +(tcg|kvm) '
says 'cache +direct +after one failed flush'
says '^/usr/bin/qemu-system-x86_64 \\$'
says 'aio=(threads|io_uring),discard=unmap'
[ ! -e "$XDG_RUNTIME_DIR/stickvm" ] || die "a dry run made something"
works "$vm" run g --dry-run --json --accel tcg -- -snapshot 'two words'
json 'j["vm"], j["argv"][-2:]' "g ['-snapshot', 'two words']"
json '[d["value"] for d in j["decisions"] if d["name"] in ("accel", "cpu")]' \
	"['tcg', 'Westmere-v1,vendor=GenuineIntel,enforce']"
json 'all(d["reason"] for d in j["decisions"]), j["facts"]["qemu"]["version"].count(".")' \
	'True 2'
# The printed command is one that QEMU understands (but for what only a session has).
works "$vm" run g --dry-run --json --accel tcg
python3 - "$work/out" "$work" <<'END'
import json, subprocess, sys
argv = json.load(open(sys.argv[1]))["argv"]
work = sys.argv[2]
open(work + "/disk", "wb").truncate(1 << 20)
words = []
for word in argv:
    if "disk.raw" in word:
        word = word[:word.index("filename=")].replace("cache.direct=on", "cache.direct=off")
        word += "filename=" + work + "/disk"
    words.append(word.replace("socket,id=qmp,path=", "file,id=qmp,path=").replace(
        "id=agent,server=on,wait=off,path=", "id=agent,server=on,wait=off,path=" + work + "/a")
        if "id=agent" not in word else "null,id=agent")
words = [w.replace(w[w.index("path="):], "path=" + work + "/qmp") if "id=qmp" in w else w
         for w in words]
words = [w.replace("aio=io_uring", "aio=threads").replace("cache.direct=on", "cache.direct=off")
         for w in words]
got = subprocess.run(["timeout", "2", *words, "-S"], capture_output=True, text=True)
assert got.returncode == 124, got
assert got.stderr == "" or "terminating on signal" in got.stderr, got.stderr
END

# 8 KiB of any bytes, printed by the guest, reach the file as they are.
{
	python3 -c "import sys; sys.stdout.buffer.write(bytes(range(256)))"
	head -c 7936 /dev/urandom
} >"$work/bytes"
make_job <<'END'
stty raw
echo BEGIN
cat /sys/firmware/qemu_fw_cfg/by_name/opt/stickvm/bytes/raw
echo END
sync
poweroff
END
serial=$work/serial
start=$(date +%s)
fresh
"$vm" run g --display none --serial "$serial" -- "${job[@]}" \
	-fw_cfg "name=opt/stickvm/bytes,file=$work/bytes" >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_end $run 0
grep -q "g runs (TCG)" "$work/words" || die "it did not say that it runs: $(cat "$work/words")"
python3 - "$serial" "$work/bytes" <<'END'
import sys
log, want = (open(p, "rb").read() for p in sys.argv[1:3])
at = log.index(b"BEGIN\n") + 6
assert log[at:at + len(want)] == want, "the bytes differ"
assert log[at + len(want):].startswith(b"END\n")
END
echo "boot, 8 KiB over the serial port and power-off: $(($(date +%s) - start)) s"
nothing_left
intact

# The same through standard output, and what is piped in reaches the guest: Ctrl-C and Ctrl-] too.
make_job <<'END'
stty raw -echo
echo LISTEN
dd bs=1 count=64 2>/dev/null | sha256sum
cat /sys/firmware/qemu_fw_cfg/by_name/opt/stickvm/bytes/raw
poweroff
END
{ printf '\003\035\000\004\032\021\023'; head -c 57 /dev/urandom; } >"$work/typed"
mkfifo "$work/in"
fresh
"$vm" run g --serial stdio -- "${job[@]}" -fw_cfg "name=opt/stickvm/bytes,file=$work/bytes" \
	<"$work/in" >"$work/stdout" 2>"$work/words" &
run=$!
at_end "end_run $run"
exec 9>"$work/in"
wait_line LISTEN "$work/stdout"
cat "$work/typed" >&9
wait_end $run 0
exec 9>&-
grep -aq "$(sha256sum <"$work/typed" | cut -d ' ' -f 1)" "$work/stdout" ||
	die "what was typed did not arrive"
python3 -c 'import sys; a, b = (open(p, "rb").read() for p in sys.argv[1:]); assert b in a' \
	"$work/stdout" "$work/bytes" || die "standard output is not what the guest printed"

# While it runs: one only, and it is stopped from another process; data is there the next time.
make_job <<'END'
echo "kept across boots" >/kept
echo WRITTEN
END
fresh
"$vm" run g --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_line WRITTEN "$serial"
refused 5 'in use' "$vm" run g
mkdir "$work/mnt"
refused 5 'in use' "$vm" mount g "$work/mnt"
refused 5 'in use' "$vm" delete g --yes
start=$(date +%s)
works "$vm" stop g
[ ! -s "$work/out" ] || die "stop is not silent"
intact # the lock is free as soon as stop returns
wait_end $run 0
echo "stop: $(($(date +%s) - start)) s"
nothing_left
refused 1 'g: it is not running' "$vm" stop g
make_job <<'END'
cat /kept
poweroff
END
fresh
"$vm" run --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
wait_end $! 0
grep -aq 'kept across boots' "$serial" || die "the guest's file did not survive"

# What cannot be done is said in one line.
refused 2 'not in this version' "$vm" run g --transport nbd
refused 2 'not in this version' "$vm" run g --policy host
refused 2 'detached' "$vm" run g --detach --serial stdio
refused 1 'no such VM' "$vm" run nobody
refused 1 'cannot be written' "$vm" run g --serial /nonexistent/file
refused 1 'not found.*apt install' env STICKVM_QEMU=/nonexistent "$vm" run g
[ -c /dev/kvm ] || refused 1 '--accel kvm' "$vm" run g --accel kvm
nothing_left
