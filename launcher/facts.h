/* SPDX-License-Identifier: GPL-2.0-or-later */
/* facts.h: what this host and this stick are; pure data that prints and loads as JSON. */
#ifndef LAUNCHER_FACTS_H
#define LAUNCHER_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "err.h"

/*
 * Everything that a decision of the launcher may rest on. A field that could not be found out is
 * unknown: 0 for numbers, FACT_UNKNOWN for yes/no, NULL for texts; an emptied struct knows
 * nothing. Texts are owned by the struct. Every field is named once more in facts_table, from
 * which JSON, masks and tests come.
 */
enum fact_bool { FACT_UNKNOWN = 0, FACT_NO, FACT_YES };

struct facts {
	/* the host */
	char *host_kernel; /* release, "6.1.0-18-amd64" */
	char *host_cpu_model;
	char *host_cpu_flags; /* as in /proc/cpuinfo, separated by spaces */
	uint64_t host_cpus;   /* that this process may use */
	uint64_t host_mem_bytes;
	uint64_t host_mem_free_bytes; /* available without swapping */
	enum fact_bool host_io_uring; /* a ring can be set up */
	enum fact_bool host_fuse;     /* /dev/fuse may be opened */
	char *host_x11;		      /* $DISPLAY */
	char *host_wayland;	      /* $WAYLAND_DISPLAY */
	enum fact_bool host_terminal; /* standard input and output are a terminal */
	uint64_t host_ssh_port;	      /* the first free port from the VM's own upwards */
	char *host_scratch_folder;    /* for a scratch disk; not on the stick */
	uint64_t host_scratch_free_bytes;
	char *host_cache_folder; /* for what VMs read */
	uint64_t host_cache_free_bytes;
	enum fact_bool host_cache_on_stick;
	/* KVM */
	char *kvm_verdict;	  /* kvm_verdict_name */
	uint64_t kvm_loops_per_s; /* of the speed probe */
	/* QEMU */
	char *qemu_path;
	char *qemu_version;	      /* "7.2.22" */
	char *qemu_displays;	      /* separated by spaces */
	enum fact_bool qemu_io_uring; /* built in */
	enum fact_bool qemu_sandbox;  /* built in */
	/* firmware */
	char *firmware_code; /* UEFI without secure boot */
	char *firmware_vars; /* the template of its variables */
	/* the stick */
	char *stick_path; /* as asked for */
	char *stick_node; /* "/dev/sdb1" */
	enum fact_bool stick_usb;
	char *stick_vendor;
	char *stick_product;
	char *stick_usb_id;	    /* "0781:5588" */
	char *stick_port;	    /* "2-1.4": bus and ports */
	char *stick_hubs;	    /* between root and stick, outermost first; "" none */
	uint64_t stick_speed_mbps;  /* of the link */
	uint64_t stick_usb_version; /* bcdUSB: what the device could do, 0x0320 */
	char *stick_driver;	    /* "uas", "usb-storage" */
	uint64_t stick_power_ma;    /* the most it asks for */
	enum fact_bool stick_removable;
	char *stick_fs; /* "exfat", "fuseblk", "ext4" */
	char *stick_mount_point;
	char *stick_mount_options;
	enum fact_bool stick_read_only;
	uint64_t stick_size_bytes; /* of the file system */
	uint64_t stick_free_bytes; /* meaningful where stick_size_bytes is known */
	/* what `probe` measured and the stick keeps; `run` takes it from there */
	uint64_t stick_read_rate; /* bytes a second, in order */
	uint64_t stick_write_rate;
	uint64_t stick_random_read_us; /* of 4 KiB */
};

enum fact_type { FACT_TYPE_BOOL, FACT_TYPE_U64, FACT_TYPE_TEXT };

struct fact_field {
	const char *name; /* "stick.speed_mbps": section and key in JSON */
	enum fact_type type;
	size_t offset; /* in struct facts */
};

extern const struct fact_field facts_table[];
extern const size_t facts_table_len;

/* NULL where no fact has this name. */
const struct fact_field *facts_find(const char *name);

void facts_free(struct facts *facts);

/* A text fact: takes a copy of `value` (NULL: unknown) in place of what was there. */
void facts_set_text(char **field, const char *value);

/* Every field is present; unknown is null. The object is the caller's. */
json_t *facts_to_json(const struct facts *facts);
/* Unknown keys are ignored, missing ones are unknown; a value of the wrong type is an error that
 * names it. On success the texts are the caller's: facts_free. */
int facts_from_json(const json_t *json, struct facts *ret_facts, struct err *err);

/*
 * A borrowed view of `facts` in which only the `names` (NULL-terminated) are known. Valid as
 * long as `facts`; not to be freed.
 */
struct facts facts_view(const struct facts *facts, const char *const *names);

/* Finds out everything about this host; takes about two seconds where KVM is broken. Forks, so
 * call it before there are threads. `qemu` (may be NULL): the program to take instead of the one
 * in $PATH. Never fails: what cannot be known is unknown. */
struct facts_wanted {
	const char *qemu;
	uint16_t ssh_port; /* 0: do not look for a port */
	const char *stick; /* a path on the stick, or its node; NULL: none */
	bool no_kvm;	   /* it will not be used: do not probe it */
};
void facts_gather(const struct facts_wanted *wanted, struct facts *ret_facts);

/* Parts of facts_gather, for tests. `root` is "" but in tests, put before /proc, /usr, ... */
void facts_gather_host(const char *root, struct facts *facts);
void facts_gather_kvm(struct facts *facts);
void facts_gather_firmware(const char *root, struct facts *facts);
void facts_gather_qemu(const char *program, struct facts *facts);
void facts_gather_port(uint16_t first_port, struct facts *facts);
void facts_gather_stick(const char *path, struct facts *facts);

/* What the line of /proc/self/mountinfo that holds `path` says. False where none does. */
bool facts_parse_mountinfo(const char *mountinfo, const char *path, struct facts *facts);
/* Walks sysfs upwards from the block device with this number. */
void facts_gather_usb(uint64_t devnum, struct facts *facts);

/* Whether `word` is one of the words in `list`, which spaces separate. NULL holds nothing. */
bool facts_has_word(const char *list, const char *word);

#endif
