#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# yank_buses: pulls on exFAT, and with the disk on NVMe (whose requests are held) and on AHCI.
# test-labels: long once
# shellcheck source-path=SCRIPTDIR source=yank.bash
. "$(dirname "$0")/yank.bash"

guest_image
series exfat virtio-blk 5
series ext4 nvme 5 --cut drop=30,reorder
guest_image --kernel full
series ext4 sata 5 --cut drop=30,reorder
