#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# probe on simulated sticks with their real latency: quick in time, what is kept and used, slower
# than before, fakes, a test of capacity that is killed.
# test-labels: once
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

# What was measured is kept and used: a new disk's geometry, and the batches and units of a run.
# Without latency there is no geometry to see, so it is given here.
plug P3 --size 4G
format
works "$vm" probe "$fs" --quick --yes --json
json 'j["kept"], j["direct"], j["alignment_known"], j["full"]' 'True True True False'
json 'j["page_method"], j["page_bytes"], j["erase_unit_bytes"] >= 1 << 20' 'assumed 16384 True'
[ -z "$(find "$fs" -name '.stickvm-probe*')" ] || die "a scratch file stays"
sed -i '/^geometry:/,/^probe:/{/^probe:/!d}' "$fs/stickvm/stick.yaml"
sed -i 's/^probe:/geometry:\n  page: 32K\n  erase_unit: 16M\n  open_units: 2\nprobe:/' \
	"$fs/stickvm/stick.yaml"
works "$vm" --stick "$fs" create a --size 64M
mkdir "$work/mnt"
works "$vm" --stick "$fs" mount a "$work/mnt"
cp "$work/mnt/status.json" "$work/out"
json 'j["segment_bytes"], j["page_bytes"]' '16777216 32768'
works "$vm" umount "$work/mnt"
"$vm" --stick "$fs" run a --dry-run --json >"$work/out" 2>&1 || true
json '[r["facts"] for r in j["decisions"] if r["name"] == "unit size"][0]' \
	"['stick.read_rate', 'stick.random_read_us']"
json '[r["value"] == "default" for r in j["decisions"] if r["name"] == "unit size"][0]' False

# The same stick, slower than before, is told.
sed -i -E 's/^(    (read|write)_rate): .*/\1: 90000000000/' "$fs/stickvm/stick.yaml"
works "$vm" probe "$fs" --yes
says '^erase unit '
says 'Writing became slower: .*, and 90000 MB/s before'
# Read only where nobody can be asked, which is said.
"$vm" probe "$fs" --json >"$work/out" 2>"$work/err" </dev/null || die "probe without --yes"
grep -q 'nothing was written' "$work/err" || die "not said: $(cat "$work/err")"
json 'j["written_bytes"], j["write_bytes_per_s"]' '0 None'
grep -q '^  write_rate: ' "$fs/stickvm/stick.yaml" || die "what was known is gone"
pull

# init looks by itself, once; then nothing changes.
plug P4 --size 4G
mkfs.ext4 -q "$loop"
mount "$loop" "$fs"
works "$vm" init "$fs" --json
json 'j["fresh"], j["probe"]["kept"]' 'True True'
before=$(tree_of "$fs")
works "$vm" init "$fs"
says 'nothing was changed'
[ "$(tree_of "$fs")" = "$before" ] || die "init changed a prepared stick"
works "$vm" probe "$fs" --capacity --yes --json
json 'j["kind"], j["genuine"], j["lost"], j["changed"]' 'good True 0 0'
pull

# Every kind of fake, on the device; what was there is there afterwards.
for fake in limbo:100M wraparound:128M chain:100M:128M bad; do
	kind=${fake%%:*}
	plug P4 --size 512M --fake "$fake"
	head -c 8M /dev/urandom | dd of="$loop" bs=1M oflag=direct conv=fsync status=none
	sum=$(sha256sum <"$sim/stick.img")
	status=0
	"$vm" probe "$loop" --capacity --yes --json >"$work/out" 2>"$work/err" || status=$?
	[ "$status" = 4 ] || die "$fake: status $status: $(cat "$work/err")"
	json 'j["kind"]' "$kind"
	[ "$(sha256sum <"$sim/stick.img")" = "$sum" ] || die "$fake: the content changed"
	pull
done

# Killed in the middle: the next run puts back what was there.
plug P1 --size 256M
head -c 100M /dev/urandom | dd of="$loop" bs=1M oflag=direct conv=fsync status=none
sum=$(sha256sum <"$sim/stick.img")
echo reset >"$sim/ctl"
echo latency on >"$sim/ctl"
"$vm" probe "$loop" --capacity --yes >/dev/null 2>&1 &
pid=$!
for _ in $(seq 300); do
	written=$(sed -n 's/^ "written_bytes": \([0-9]*\).*/\1/p' "$sim/stats.json")
	[ "$written" -lt 20000 ] || break
	sleep 0.05
done
kill -9 $pid
wait $pid || true
echo latency off >"$sim/ctl"
"$vm" probe "$loop" --capacity --yes --json >"$work/out" 2>"$work/err" || die "$(cat "$work/err")"
grep -q 'cut short; [0-9]* blocks' "$work/err" || die "not said: $(cat "$work/err")"
json 'j["kind"], j["restored_blocks"] > 0' 'good True'
[ "$(sha256sum <"$sim/stick.img")" = "$sum" ] || die "not all came back"
[ -z "$(ls "$XDG_STATE_HOME/stickvm")" ] || die "the kept blocks stay"
pull

refused 2 'give one of them' "$vm" probe "$work" --quick --full
refused 2 'add --yes' "$vm" probe "$work" --capacity
refused 3 'No such file' "$vm" probe "$work/nowhere"
echo "probe: ok"
