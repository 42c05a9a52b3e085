#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# fuse_user.sh: an ordinary user mounts through fusermount3, writes, verifies, unmounts.
. "$(dirname "$0")/fuse.bash"
need fusermount3 fio jq
[ "$(id -u)" = 0 ] || die "needs root to make an ordinary user"
need useradd userdel runuser

USER_NAME=svtest$$
DEVICE_MODE=$(stat -c %a /dev/fuse)
restore() {
	local code=$?
	set +e
	runuser -u "$USER_NAME" -- fusermount3 -u -q -z "$M"
	chmod "$DEVICE_MODE" /dev/fuse
	userdel "$USER_NAME"
	(exit $code)
	fuse_cleanup
}
useradd --no-create-home --shell /bin/sh "$USER_NAME"
trap restore EXIT
chmod 666 /dev/fuse
chmod 755 "$T"
mkdir "$STICK" "$M"
chown "$USER_NAME" "$STICK" "$M"

# The program may lie in a folder that only root can enter.
cp "$BIN/stickvm" "$T/stickvm"
chmod 755 "$T/stickvm"
as_user() {
	runuser -u "$USER_NAME" -- env HOME="$T" XDG_RUNTIME_DIR= "$@"
}
stickvm() {
	as_user "$T/stickvm" --stick "$STICK" "$@"
}

new_disk vm 64M
as_user "$T/stickvm" --stick "$STICK" mount vm "$M" || die "mount as a user"
[ "$(as_user stat -c '%U %s' "$DISK")" = "$USER_NAME $((64 << 20))" ] || die "stat as the user"
as_user fio --name=user --directory="$M" --filename=disk.raw --size=16M --ioengine=libaio \
	--direct=1 --iodepth=16 --rw=randwrite --bs=4k --verify=crc32c --verify_fatal=1 \
	--verify_state_save=0 --fdatasync=32 >"$T/fio.log" 2>&1 || die "fio as the user"
as_user sh -c 'head -c 100000 /dev/urandom | tee "$1" | dd of="$2" bs=999 status=none' sh \
	"$STICK/copy" "$DISK" || die "dd as the user"
as_user jq -e '.state == "ok"' "$M/status.json" >/dev/null || die "status.json"
refuse stat "$DISK" # root is not let in: the user did not say --allow-root
as_user "$T/stickvm" --stick "$STICK" umount "$M" || die "umount as the user"
as_user "$T/stickvm" --stick "$STICK" mount vm "$M" || die "mount again"
as_user cmp -n 100000 "$STICK/copy" "$DISK" || die "changed over umount"
as_user "$T/stickvm" --stick "$STICK" umount "$M" || die "umount again"
echo "fuse_user: done"
