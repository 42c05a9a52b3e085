/* SPDX-License-Identifier: GPL-2.0-or-later */
/* verbs.c: the one table of verbs and options (the contract of the command line). */
#include "verbs.h"

#include <limits.h>

/* Options that several verbs share. */
#define OPT_JSON                                                                                   \
	{                                                                                          \
		.name = "json", .help = "print JSON: sizes in bytes, times in seconds"             \
	}
#define OPT_YES                                                                                    \
	{                                                                                          \
		.name = "yes", .help = "do not ask"                                                \
	}
#define OPT_CACHE                                                                                  \
	{                                                                                          \
		.name = "cache", .type = OPT_TEXT, .arg = "SIZE|auto|off",                         \
		.help = "what was read is kept on this host's disk, encrypted (default: the VM's " \
			"setting)"                                                                 \
	}
#define FLAG_LATER(n, h)                                                                           \
	{                                                                                          \
		.name = n, .later = true, .help = h                                                \
	}

#define OPT_OUTSIDE                                                                                \
	{                                                                                          \
		.name = "allow-outside", .help = "agree that the disk or the CD-ROM lies off the " \
						 "stick, where its settings "                      \
						 "say; remembered on this host"                    \
	}

static const struct opt opts_init[] = {
	FLAG_LATER("bundle", "also carry the program and QEMU on the stick"),
	{.name = "no-probe", .help = "do not measure the stick (up to 20 s)"},
	OPT_JSON,
	{0},
};

static const struct opt opts_probe[] = {
	{.name = "quick", .help = "under 20 s on any stick; the default"},
	{.name = "full",
	 .help = "some minutes: more repeats, and where the fast cache of a stick ends"},
	{.name = "capacity",
	 .help = "find out whether the stick holds what it announces; what is on it stays"},
	OPT_YES,
	OPT_JSON,
	{0},
};

static const struct opt opts_create[] = {
	{.name = "size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "size of the disk (default: the image's with --from, else 64G)"},
	{.name = "from",
	 .type = OPT_FILE,
	 .arg = "IMAGE",
	 .help = "import a disk image: raw, a block device, qcow or qcow2; others where QEMU's "
		 "tools are found"},
	{.name = "iso",
	 .type = OPT_FILE,
	 .arg = "FILE",
	 .help = "a CD-ROM to install from; it is copied to the stick, and the disk boots "
		 "before it"},
	{.name = "iso-link", .help = "leave the ISO where it is and only name it"},
	{.name = "cloud-init",
	 .type = OPT_FILE,
	 .arg = "FILE",
	 .later = true,
	 .value_optional = true,
	 .help = "set the guest up with cloud-init"},
	{.name = "os",
	 .type = OPT_CHOICE,
	 .arg = "linux|windows|other",
	 .fallback = "linux",
	 .help = "what runs inside"},
	{.name = "ram", .type = OPT_SIZE, .arg = "SIZE", .fallback = "4G", .help = "memory"},
	{.name = "cpus",
	 .type = OPT_NUMBER,
	 .arg = "N",
	 .fallback = "2",
	 .low = 1,
	 .high = 255,
	 .help = "processor cores"},
	{.name = "cpu",
	 .type = OPT_CHOICE,
	 .arg = "roam|roam-v3|host",
	 .help = "processor model: roam runs on every host, roam-v3 (the default where this host "
		 "has it) on those with AVX2, host on this one only"},
	{.name = "bus",
	 .type = OPT_CHOICE,
	 .arg = "virtio-blk|virtio-scsi|nvme|sata|usb",
	 .help = "where the guest finds its disk (default: virtio-blk; for Windows sata, for "
		 "which it brings a driver)"},
	{.name = "firmware",
	 .type = OPT_CHOICE,
	 .arg = "uefi|bios",
	 .help = "what the guest boots with (default: bios; for Windows uefi)"},
	{.name = "place",
	 .type = OPT_FILE,
	 .arg = "DEVICE",
	 .help = "put the disk on this raw partition or device, whose content is lost, instead "
		 "of into files: faster, and it wears the stick less"},
	OPT_YES,
	FLAG_LATER("encrypt", "encrypt the disk"),
	{0},
};

static const struct opt opts_run[] = {
	{.name = "dry-run",
	 .help = "print every decision with its reason and the command; start "
		 "nothing"},
	OPT_JSON,
	{.name = "accel",
	 .type = OPT_CHOICE,
	 .arg = "auto|kvm|tcg",
	 .fallback = "auto",
	 .help = "accelerator; auto takes KVM where a tiny guest proves that it works"},
	{.name = "display",
	 .type = OPT_CHOICE,
	 .arg = "auto|none|gtk|sdl|vnc|spice",
	 .fallback = "auto",
	 .help = "the guest's screen"},
	{.name = "serial",
	 .type = OPT_FILE,
	 .arg = "stdio|FILE",
	 .help = "where the guest's first serial port goes: this terminal, or a file"},
	{.name = "transport",
	 .type = OPT_CHOICE,
	 .arg = "auto|fuse|nbd",
	 .fallback = "auto",
	 .help = "how QEMU reaches the disk"},
	{.name = "policy",
	 .type = OPT_CHOICE,
	 .arg = "stick|host",
	 .help = "where a flush of the guest must have arrived (default: the VM's setting)"},
	{.name = "cold",
	 .help = "discard a suspended or parked state, after asking, and start afresh"},
	OPT_YES,
	OPT_CACHE,
	{.name = "take-over", .help = "go on although another host ended uncleanly"},
	{.name = "detach", .help = "return as soon as the guest runs"},
	OPT_OUTSIDE,
	{0},
};

static const struct opt opts_stop[] = {
	{.name = "timeout",
	 .type = OPT_NUMBER,
	 .arg = "SECONDS",
	 .fallback = "60",
	 .low = 1,
	 .high = 86400,
	 .help = "how long to wait for the guest to power off"},
	{.name = "force",
	 .help = "end the guest by force when it does not power off in time (10 s "
		 "unless --timeout is given)"},
	{0},
};

static const struct opt opts_park[] = {
	{.name = "export",
	 .type = OPT_FILE,
	 .arg = "FILE",
	 .help = "write the disk of the VM that is parked here as a raw image, as it was when it "
		 "was frozen; its stick must be plugged in"},
	OPT_YES,
	{0},
};

static const struct opt opts_forget[] = {
	OPT_YES,
	{0},
};

static const struct opt opts_resume[] = {
	{.name = "grace", .help = "with the guest's reserve, where the stick is full"},
	{0},
};

static const struct opt opts_mount[] = {
	{.name = "foreground", .help = "stay, and end with umount, Ctrl-C or SIGTERM"},
	{.name = "read-only", .help = "write nothing"},
	{.name = "allow-root", .help = "let root use the mount of an ordinary user"},
	OPT_CACHE,
	OPT_OUTSIDE,
	{0},
};

static const struct opt opts_umount[] = {
	{.name = "force", .help = "also where the stick is gone, and what is not on it is lost"},
	{0},
};

static const struct opt opts_json[] = {
	OPT_JSON,
	{0},
};

static const struct opt opts_delete[] = {
	OPT_YES,
	OPT_OUTSIDE,
	{0},
};

static const struct opt opts_wear[] = {
	OPT_JSON,
	{.name = "html",
	 .type = OPT_FILE,
	 .arg = "FILE",
	 .help = "write a page with plots for a browser; complete in itself"},
	{.name = "prometheus", .help = "print metrics as Prometheus reads them"},
	{0},
};

static const struct opt opts_top[] = {
	{.name = "once", .help = "look for a second, print and end"},
	OPT_JSON,
	{0},
};

static const struct opt opts_check[] = {
	{.name = "deep", .help = "verify every byte that is in use, not only the structure"},
	OPT_JSON,
	{.name = "repair",
	 .help = "mend what can be proven (after --deep); what it replaces is kept beside the "
		 "VM's settings"},
	OPT_OUTSIDE,
	{0},
};

static const struct opt opts_none[] = {{0}};

#define LATER(n, o, h)                                                                             \
	{                                                                                          \
		.name = n, .operands = o, .max = UINT_MAX, .tail = "...", .help = h,               \
		.opts = opts_none                                                                  \
	}

const struct verb verbs[] = {
	{.name = "init",
	 .operands = "[DIR]",
	 .max = 1,
	 .opts = opts_init,
	 .run = cmd_init,
	 .help = "prepare a stick",
	 .more = "DIR is the folder where the stick is mounted. Without it the sticks that are "
		 "plugged in are listed. Again on a prepared stick it changes nothing."},
	{.name = "probe",
	 .operands = "[DIR]",
	 .max = 1,
	 .opts = opts_probe,
	 .run = cmd_probe,
	 .help = "measure a stick: link, rates, erase unit, open units; find fakes",
	 .more = "DIR is a folder on the stick, or a device. In a folder it asks before it writes, "
		 "to a scratch file that is gone afterwards; without writing less can be told. A "
		 "device is only read, but by --capacity. What was measured is kept on a prepared "
		 "stick and used for VMs that are created from then on. --capacity writes to "
		 "places "
		 "all over the stick and puts back what was there; if it is cut short, the next "
		 "'probe --capacity' on this host does so. Exit status 4: the stick is a fake."},
	{.name = "create",
	 .operands = "NAME",
	 .min = 1,
	 .max = 1,
	 .opts = opts_create,
	 .run = cmd_create,
	 .help = "make a new VM",
	 .more = "The machine (version, processor, memory, cores, devices, UUID, MAC, ssh port) "
		 "is fixed now and changed only by 'stickvm set'."},
	{.name = "run",
	 .operands = "[NAME]",
	 .max = 1,
	 .tail = "QEMU ARGS",
	 .opts = opts_run,
	 .run = cmd_run,
	 .help = "start a VM; ends when the guest powers off",
	 .more = "The first Ctrl-C asks the guest to power off, the second offers to kill it. "
		 "With --serial stdio Ctrl-C goes to the guest and Ctrl-] opens a small menu. When "
		 "the stick is pulled the VM freezes; plugged in again and mounted, in any port, "
		 "it goes on."},
	{.name = "stop",
	 .operands = "[NAME]",
	 .max = 1,
	 .opts = opts_stop,
	 .run = cmd_stop,
	 .help = "ask a running VM to power off"},
	LATER("suspend", "[NAME]", "freeze a VM to the stick"),
	{.name = "park",
	 .operands = "[NAME]",
	 .max = 1,
	 .opts = opts_park,
	 .run = cmd_park,
	 .help = "freeze a VM to this host when the stick is gone",
	 .more = "For a VM that is frozen because its stick was pulled. Its memory and what the "
		 "stick does not have yet are kept on this host's disk, under a key that is on the "
		 "stick alone, and 'stickvm run' ends. Days later, with the stick plugged in on "
		 "this host, 'stickvm run' goes on from there. The first time that a VM is kept on "
		 "this host it asks."},
	{.name = "resume",
	 .operands = "[NAME]",
	 .max = 1,
	 .opts = opts_resume,
	 .run = cmd_resume,
	 .help = "let a VM that was paused go on",
	 .more = "A VM is paused when its disk fails or the stick is full. It tries again by "
		 "itself; "
		 "'resume' does so at once. On a full stick --grace lets it write up to 64 MiB "
		 "more, "
		 "so that files inside can be deleted and their space given back (fstrim)."},
	{.name = "mount",
	 .operands = "NAME DIR",
	 .min = 2,
	 .max = 2,
	 .opts = opts_mount,
	 .run = cmd_mount,
	 .help = "show a VM's disk as the file DIR/disk.raw, for any tool",
	 .more = "Returns when the file can be opened. DIR/status.json stands beside it."},
	{.name = "umount",
	 .operands = "DIR",
	 .min = 1,
	 .max = 1,
	 .opts = opts_umount,
	 .run = cmd_umount,
	 .help = "end a mount; returns when the last byte is on the stick",
	 .more = "Where the stick was pulled it says how much is not on it, and ends nothing "
		 "(status 3; 5 where the stick was used elsewhere since); --force ends the mount "
		 "all the same, and says with the same status what is lost. Where others unmounted "
		 "DIR then, a process keeps what is not on the stick until that is back; the same "
		 "holds for it."},
	LATER("ssh", "[NAME] [CMD]", "a shell in the guest"),
	LATER("exec", "[NAME]", "run a command in the guest through its agent"),
	{.name = "list",
	 .operands = "",
	 .opts = opts_json,
	 .run = cmd_list,
	 .help = "the VMs on the stick"},
	{.name = "show",
	 .operands = "[NAME]",
	 .max = 1,
	 .opts = opts_json,
	 .run = cmd_show,
	 .help = "the settings of a VM"},
	{.name = "set",
	 .operands = "NAME KEY=VALUE...",
	 .min = 2,
	 .max = UINT_MAX,
	 .opts = opts_none,
	 .run = cmd_set,
	 .help = "change settings of a VM",
	 .more = "All of them or none. 'stickvm show' lists the settings; an empty VALUE clears "
		 "one that may be absent. The settings are also in the file "
		 "stickvm/vms/NAME/vm.yaml on the stick, for an editor."},
	LATER("rename", "NAME NEW", "give a VM another name"),
	LATER("clone", "NAME NEW", "copy a VM"),
	LATER("resize", "NAME SIZE", "grow a VM's disk"),
	{.name = "delete",
	 .operands = "NAME",
	 .min = 1,
	 .max = 1,
	 .opts = opts_delete,
	 .run = cmd_delete,
	 .help = "delete a VM and its disk; asks first"},
	LATER("snapshot", "create|list|restore|delete [NAME] [SNAP]", "points to go back to"),
	LATER("export", "NAME IMAGE", "write the disk as an image"),
	LATER("backup", "NAME FILE", "copy the disk at one point in time"),
	{.name = "wear",
	 .operands = "[NAME]",
	 .max = 1,
	 .opts = opts_wear,
	 .run = cmd_wear,
	 .help = "what was written to the stick, why, and what life is left"},
	{.name = "top",
	 .operands = "[NAME]",
	 .max = 1,
	 .opts = opts_top,
	 .run = cmd_top,
	 .help = "a live view of the disks that run or are mounted on this host",
	 .more = "Rates of the last second, bytes to the stick for each byte that the guest "
		 "wrote, the host cache's hits, what is not on the stick yet, and the cleaner. "
		 "Without a terminal a line a disk a second."},
	{.name = "check",
	 .operands = "[NAME]",
	 .max = 1,
	 .opts = opts_check,
	 .run = cmd_check,
	 .help = "verify a VM's disk; exit status 4 where damage is found"},
	LATER("compact", "[NAME]", "clean now"),
	LATER("doctor", "", "what is wrong on this host and this stick"),
	LATER("passwd", "[NAME]", "change the passphrase"),
	{.name = "forget",
	 .operands = "",
	 .opts = opts_forget,
	 .run = cmd_forget,
	 .help = "remove what this host keeps: VMs that are parked here",
	 .more = "Lists them, and asks. What a parked VM had not written to its stick is lost "
		 "then."},
	LATER("update", "", "renew program and QEMU on the stick"),
	LATER("bus", "NAME BUS", "move the root disk to another bus"),
	LATER("eject", "", "make it safe to unplug the stick"),
	{.name = "help",
	 .operands = "[VERB]",
	 .max = 1,
	 .opts = opts_none,
	 .run = cmd_help,
	 .help = "explain a verb, or list them all"},
	{0},
};
