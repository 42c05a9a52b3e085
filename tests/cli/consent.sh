#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# consent: the settings of a found stick name files and folders of this host: nothing of them is
# read or written before the user agreed, once, on this host.
# test-labels: once
# shellcheck source-path=SCRIPTDIR source=run.bash
. "$(dirname "$0")/run.bash"

stick=$work/stick
mkdir "$stick" "$work/mnt" "$work/host"
at_end 'umount -l "$work/mnt"'
export STICKVM_STICK=$stick
works "$vm" init "$stick"
settings=$stick/stickvm/vms/g/vm.yaml
off='does not lie on the stick and was not agreed to'

# No verb opens it; the host's files stay what they are.
nobody_opens() {
	local before
	before=$(tree_of "$work/host")
	refused 1 "g: its disk is $1.*$off" "$vm" mount g "$work/mnt"
	refused 1 "$off" "$vm" check g
	refused 1 "$off" "$vm" check g --repair
	refused 1 "$off" "$vm" delete g --yes
	refused 1 "$off" "$vm" run g --accel tcg
	works "$vm" list --json
	json 'j["vms"][0]["state"]' unreadable
	"$vm" wear >"$work/out" 2>&1 || true
	[ "$(tree_of "$work/host")" = "$before" ] || die "$1 was changed"
}

# A disk that was moved off the stick, with a link in its place.
works "$vm" create g --size 32M --ram 256M --cpu roam
mv "$stick/stickvm/vms/g/disk" "$work/host/disk"
ln -s "$work/host/disk" "$stick/stickvm/vms/g/disk"
nobody_opens "$work/host/disk"
works "$vm" mount g "$work/mnt" --allow-outside
works "$vm" umount "$work/mnt"
works "$vm" check g
rm "$stick/stickvm/vms/g/disk"
mv "$work/host/disk" "$stick/stickvm/vms/g/disk"
works "$vm" check g

# A raw place: who creates the VM agrees, on this host; another one asks.
truncate -s 256M "$work/host/raw"
works "$vm" delete g --yes
works "$vm" create g --size 32M --ram 256M --cpu roam --place "$work/host/raw" --yes
works "$vm" check g
here=$XDG_STATE_HOME
export XDG_STATE_HOME=$work/elsewhere/state
nobody_opens "$work/host/raw"
sed -i "s|^place:.*|place: $stick/../host/raw|" "$settings"
nobody_opens "$work/host/raw"
sed -i "s|^place:.*|place: $work/host/raw|" "$settings"
! echo n | script -qec "'$vm' check g" "$work/typed" >"$work/out" 2>&1 || die "no was taken for yes"
refused 1 "$off" "$vm" check g
echo y | script -qec "'$vm' check g" "$work/typed" >"$work/out" 2>&1 ||
	die "asked: $(cat "$work/out")"
grep -q 'The stick says that the disk of g is' "$work/out" || die "not asked: $(cat "$work/out")"
works "$vm" check g
[ "$(stat -c %a "$XDG_STATE_HOME/stickvm")" = 700 ] || die "others may look at it"
export XDG_STATE_HOME=$here

# A CD-ROM of this host, by its path, from the VM's folder upwards, or through a link.
echo secret >"$work/host/iso"
ln -s "$work/host/iso" "$stick/stickvm/vms/g/link.iso"
export STICKVM_QEMU=$SRC/tests/support/fake_qemu.py FAKE_LOG=$work/told FAKE=presses
echo >>"$settings"
for iso in "$work/host/iso" ../../../../host/iso link.iso; do
	sed -i '/^iso:/d' "$settings"
	echo "iso: $iso" >>"$settings"
	refused 1 "g: its CD-ROM is $work/host/iso.*$off" "$vm" run g --accel tcg
done
works "$vm" set g ram=512M # says nothing of the CD-ROM
refused 1 "g: its CD-ROM is $work/host/iso.*$off" "$vm" run g --accel tcg
works "$vm" set g "iso=$work/host/iso"
"$vm" run g --accel tcg >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_line 'g runs' "$work/words" 60
works "$vm" stop g --force --timeout 1
wait_end $run 0 20

# Its own files and folders are not links: neither what they lead to nor what is there is touched.
vms=$stick/stickvm/vms
cp -r "$vms/g" "$work/host/folder"
before=$(tree_of "$work/host")
for name in vm.yaml park.key; do
	mv "$vms/g/$name" "$work/kept"
	ln -s "$work/host/folder/$name" "$vms/g/$name"
	refused 1 "$name: (is a link|Too many)" "$vm" run g --accel tcg
	rm "$vms/g/$name"
	mv "$work/kept" "$vms/g/$name"
done
mv "$vms/g" "$work/kept"
ln -s "$work/host/folder" "$vms/g"
refused 1 "vms/g: is a link to $work/host/folder" "$vm" check g
refused 1 "vms/g: is a link to $work/host/folder" "$vm" set g ram=1G
rm "$vms/g"
mv "$work/kept" "$vms/g"
for name in stick.yaml vms; do
	mv "$stick/stickvm/$name" "$work/kept"
	cp -r "$work/kept" "$work/host/$name"
	before=$(tree_of "$work/host")
	ln -s "$work/host/$name" "$stick/stickvm/$name"
	refused 1 "$name/?: is a link" "$vm" list
	refused 1 "$name/?: is a link" "$vm" create h --size 32M
	refused 1 "$name/?: is a link" "$vm" init "$stick"
	rm "$stick/stickvm/$name"
	mv "$work/kept" "$stick/stickvm/$name"
done
mkdir "$work/new"
ln -s "$work/host" "$work/new/stickvm"
refused 1 'stickvm: is a link' "$vm" init "$work/new"
ln -s "$work/host/iso" "$vms/g/vm.yaml.new"
works "$vm" set g ram=256M
[ "$(tree_of "$work/host")" = "$before" ] || die "a file of the host was changed"

# The firmware's variables, to which QEMU writes.
ln -s "$work/host/iso" "$stick/stickvm/vms/g/uefi-vars.fd"
refused 1 'is not a plain file of its own' "$vm" run g --accel tcg
nothing_left
