#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# rot: a byte of the stick turns under a running VM and under a mounted disk that nobody reads: run
# says it once, with what is affected; list, show, status.json and umount say it, too.
# test-labels: long once
# shellcheck source-path=SCRIPTDIR source=run.bash
. "$(dirname "$0")/run.bash"

stick=$work/stick
mkdir "$stick" "$work/mnt"
at_end 'umount -l "$work/mnt"'
export STICKVM_STICK=$stick
works "$vm" init "$stick"
head -c 1M /dev/urandom >"$work/data"
truncate -s 16M "$work/data"
for name in g m; do
	"$vm" create $name --from "$work/data" --ram 256M --cpu roam >"$work/out" 2>&1 ||
		die "create: $(cat "$work/out")"
done

# VM: the byte 300000 of its disk rots on the stick.
turn() {
	python3 - "$stick/stickvm/vms/$1/disk/store.000" "$work/data" <<'END'
import sys
needle = open(sys.argv[2], "rb").read()[300000:300064]
with open(sys.argv[1], "r+b") as f:
    at = f.read().find(needle)
    assert at >= 0
    f.seek(at)
    f.write(bytes([needle[0] ^ 4]))
END
}

STICKVM_QEMU=$SRC/tests/support/fake_qemu.py FAKE_LOG=$work/told FAKE=presses \
	"$vm" run g --accel tcg >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_line 'g runs' "$work/words" 60
works "$vm" mount m "$work/mnt"
turn g
turn m
# 300000 lies in the block at 299008.
wait_line 'g: rot was found on the stick: 4.00 KiB .* from byte 299008 .*check --deep g' \
	"$work/words" 60
"$vm" list >"$work/out" 2>"$work/err"
grep -q 'warning: g: rot was found' "$work/err" || die "list: $(cat "$work/err")"
"$vm" show g --json >"$work/out" 2>"$work/err"
grep -q 'warning: g: rot was found' "$work/err" || die "show: $(cat "$work/err")"
json 'j["scrub_bad_blocks"]' 1
wait_line '"scrub_bad_blocks": 1,' "$work/mnt/status.json" 60
grep -q '"scrub_bad_off_bytes": 299008,' "$work/mnt/status.json" || die "not where it is"
"$vm" umount "$work/mnt" 2>"$work/err" || die "umount: $(cat "$work/err")"
grep -q 'warning: m: rot was found on the stick: 4.00 KiB' "$work/err" || die "umount is silent"
works "$vm" stop g --force --timeout 1
wait_end $run 0 20
[ "$(grep -c 'rot was found' "$work/words")" = 1 ] || die "not said once: $(cat "$work/words")"
for name in g m; do
	refused 4 "$name: 1 finding" "$vm" check $name --deep
done
nothing_left
