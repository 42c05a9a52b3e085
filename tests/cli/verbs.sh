#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# init, list, show, set, delete, wear, check, help: what they do, their JSON, how a stick is found.
# test-locks: none
. "${SRC:?the source tree}/tests/support/cli.sh"

stick=$work/stick
mkdir "$stick"

# init: prepares, once; what was there stays.
echo mine >"$stick/mine"
works "$vm" init "$stick"
says "^Prepared $stick"
says raw.partition
before=$(tree_of "$stick")
works "$vm" init "$stick"
says 'prepared already'
works "$vm" --stick "$stick" init --json
json 'j["fresh"], j["dir"], j["capacity_bytes"] > 0' "False $stick True"
[ "$(tree_of "$stick")" = "$before" ] || die "init changed a prepared stick"
[ "$(cat "$stick/mine")" = mine ] || die "init touched what was there"
works "$vm" init --json
json 'type(j["sticks"]).__name__' list

# A stick is found by option, variable, and the place of the program; in this order.
works "$vm" --stick "$stick" list
says 'No VM'
works env STICKVM_STICK="$stick" "$vm" list --json
json 'j["vms"]' '[]'
mkdir -p "$stick/stickvm/bin" "$work/other"
cp "$vm" "$stick/stickvm/bin/stickvm"
works "$stick/stickvm/bin/stickvm" list
works "$vm" init "$work/other"
works "$vm" --stick "$work/other" create elsewhere --size 64M
works env STICKVM_STICK="$work/other" "$stick/stickvm/bin/stickvm" list
says ^elsewhere
works env STICKVM_STICK="$work/other" "$vm" list --stick "$stick"
says 'No VM'
refused 3 'no such|No such' env STICKVM_STICK="$work/nowhere" "$vm" list

export STICKVM_STICK=$stick

# list and show; NAME may be left out where there is one VM.
works "$vm" create one --size 64M --ram 256M
works "$vm" show
says '^one, created 20'
says '^ram +256M '
works "$vm" show one --json
json 'j["ram_bytes"], j["size_bytes"], j["cpus"], j["iso"]' '268435456 67108864 2 None'
uuid=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["uuid"])' "$work/out")
works "$vm" create two --size 64M --cpus 7 --os other
refused 2 'which VM\? name one of: one, two' "$vm" show
refused 1 'three: no such VM; there are: one, two' "$vm" show three
works "$vm" list --json
json '[(v["name"], v["state"], v["cpus"]) for v in j["vms"]]' \
	"[('one', 'stopped', 2), ('two', 'stopped', 7)]"

# set: all or nothing, by the words of the file; comments stay.
settings=$stick/stickvm/vms/one/vm.yaml
sed -i 's/^cpus: 2$/cpus: 2   # as many as the laptop has/' "$settings"
works "$vm" set one cpus=4 bus=nvme
grep -q '^cpus: 4   # as many as the laptop has$' "$settings" || die "the comment is gone"
before=$(cat "$settings")
refused 2 "ram: cannot be 'much'; allowed: .*like 4G" "$vm" set one cpus=8 ram=much
refused 2 'size: cannot be set' "$vm" set one cpus=8 size=128M
refused 2 'uuid: cannot be set' "$vm" set one uuid="$uuid"
refused 2 'colour: not a setting; allowed: machine, cpu' "$vm" set one colour=red
refused 2 'KEY=VALUE' "$vm" set one cpus
[ "$(cat "$settings")" = "$before" ] || die "a refused set changed the file"
echo 'cpus: 3' >>"$settings"
refused 1 "$settings:[0-9]+: 'cpus' is set on line [0-9]+ already" "$vm" show one
printf '%s\n' "$before" >"$settings"

# wear: the contract's keys; a deleted VM's counters stay with the stick.
mkdir "$work/mnt"
at_end umount -l "$work/mnt"
works "$vm" mount one "$work/mnt"
head -c 3M /dev/urandom | dd of="$work/mnt/disk.raw" bs=1M conv=notrunc,fsync status=none
works "$vm" wear one --json
json 'j["guest_written_bytes"], j["vms"][0]["current"]' '3145728 True'
works "$vm" umount "$work/mnt"
works "$vm" wear one --json
json '[k for k in ("guest_written_bytes guest_read_bytes stick_written_bytes stick_read_bytes "
"payload_bytes padding_bytes metadata_bytes cleaner_bytes state_bytes coalesced_bytes "
"noop_skipped_bytes compression_saved_bytes write_amplification flushes unclean_detaches "
"first_used life_used_low life_used_high sessions").split() if k not in j]' '[]'
json 'j["scope"], j["guest_written_bytes"], j["stick_written_bytes"] > 3145728' 'vm 3145728 True'
json '1 <= j["write_amplification"], 0 < j["life_used_low"] < j["life_used_high"] < 1' \
	'True True'
works "$vm" wear
says '^one .*3.00 MiB'
says 'not seen here'
works "$vm" wear --prometheus
says '^stickvm_vm_guest_written_bytes_total\{stick="[0-9a-f-]{36}",vm="one"\} 3145728$'
says '^stickvm_stick_life_used_ratio\{stick="[0-9a-f-]{36}",bound="high"\} [0-9.e-]+$'
[ -z "$(grep -Ev '^# (HELP|TYPE) [a-z_]+ |^[a-z_]+\{[^}]*\} [0-9.e+-]+$' "$work/out")" ] ||
	die "not Prometheus' format"
refused 2 'add --yes' "$vm" delete one
works "$vm" delete one --yes
[ ! -e "$stick/stickvm/vms/one" ] || die "delete left files"
works "$vm" wear --json
json 'j["scope"], j["guest_written_bytes"], len(j["vms"])' 'stick 3145728 1'
works "$vm" create one --size 64M
works "$vm" delete one --yes
works "$vm" wear --json
json 'j["guest_written_bytes"], j["sessions"]' '3145728 4'
[ "$(sed '/^history:/,$d' "$stick/stickvm/stick.yaml" |
	grep -Ec '^  ([0-9a-f]{32}|deleted):$')" = 2 ] ||
	die "the ledger keeps an entry of each deleted VM"

# check: nothing to find, with and without --deep, one VM or all.
works "$vm" check two --deep
says '^two: no damage found$'
works "$vm" check --json
json '[(v["name"], v["ok"], v["finding_count"]) for v in j["vms"]]' "[('two', True, 0)]"

# A VM whose settings are broken does not hide the others, and can be deleted.
works "$vm" create bad --size 64M
echo 'nonsense' >>"$stick/stickvm/vms/bad/vm.yaml"
refused 1 'bad/vm.yaml:[0-9]+: ' "$vm" list
says '^bad +unreadable'
says '^two +stopped'
"$vm" delete bad --yes >/dev/null 2>&1 || die "a VM with broken settings cannot be deleted"
[ ! -e "$stick/stickvm/vms/bad" ] || die "delete left files"

# help: every verb explains itself; what is not built says so.
works "$vm" help
cp "$work/out" "$work/help"
verbs=$(sed -n '/^verbs:/,/^$/s/^  \([a-z]\+\) .*/\1/p' "$work/help")
[ "$(wc -w <<<"$verbs")" -ge 13 ] || die "help lists: $verbs"
for verb in $verbs; do
	works "$vm" help "$verb"
	says "^usage: stickvm \[--stick DIR\] $verb"
	cp "$work/out" "$work/help1"
	works "$vm" "$verb" --help
	cmp -s "$work/out" "$work/help1" || die "$verb --help says something else than help $verb"
done
for verb in suspend ssh exec rename clone resize snapshot export backup compact \
	doctor passwd update bus eject; do
	refused 2 "^stickvm $verb: not in this version" "$vm" "$verb"
	works "$vm" help "$verb"
	says 'Not in this version'
done
refused 2 'unknown verb' "$vm" fly
refused 2 'unknown verb' "$vm" help fly
refused 2 'no verb' "$vm"
works "$vm" --version
says '^stickvm [0-9]+\.[0-9]+\.[0-9]+$'
echo "verbs: ok"
