/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tune_stick.c: what there is to say about the stick's link and the file system on it. */
#include "tune_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "size.h"

#define MIB (UINT64_C(1) << 20)

/* Below this much free space the user is told before the guest runs into it. */
#define LOW_SPACE_BYTES (256 * MIB)

static bool has_option(const char *options, const char *option)
{
	const size_t len = strlen(option);

	while (options && *options) {
		size_t here = strcspn(options, ",");

		if (here == len && memcmp(options, option, len) == 0)
			return true;
		options += here + (options[here] == ',');
	}
	return false;
}

/* "uas, port 2-1.4, behind USB2.1 Hub" */
static void where(const struct facts *f, char *text, size_t text_bytes)
{
	snprintf(text, text_bytes, "%s %s, port %s%s%s", f->stick_usb_id ? f->stick_usb_id : "USB",
		 f->stick_driver ? f->stick_driver : "without driver",
		 f->stick_port ? f->stick_port : "unknown",
		 f->stick_hubs && *f->stick_hubs ? ", behind " : "",
		 f->stick_hubs ? f->stick_hubs : "");
}

void decide_link(const struct input *in, struct plan *plan, struct decision *row)
{
	const struct facts *f = in->facts;
	char text[200];

	(void)plan;
	if (f->stick_usb != FACT_YES) {
		row_value(row, "not USB");
		row_reason(row, f->stick_usb == FACT_NO ? "the folder does not lie on a USB stick"
							: "what holds the folder is not known");
		return;
	}
	where(f, text, sizeof text);
	row_value(row, "%" PRIu64 " Mbit/s", f->stick_speed_mbps);
	if (f->stick_usb_version >= 0x0300 && f->stick_speed_mbps && f->stick_speed_mbps <= 480)
		row_note(row,
			 "the stick can do USB %" PRIu64 " but the link runs at %" PRIu64
			 " Mbit/s: try another port, cable or hub (%s)",
			 f->stick_usb_version >> 8, f->stick_speed_mbps, text);
	else
		row_reason(row, "%s", text);
}

void decide_place(const struct input *in, struct plan *plan, struct decision *row)
{
	const struct facts *f = in->facts;
	char text[32];

	(void)plan;
	size_human(f->stick_free_bytes, text, sizeof text);
	row_value(row, "%s", f->stick_fs ? f->stick_fs : "unknown");
	if (f->stick_read_only == FACT_YES)
		row_refuse(row, EXIT_FAILED,
			   "the stick: it is mounted read-only; check its switch and the file "
			   "system, then mount it for writing");
	else if (has_option(f->stick_mount_options, "sync"))
		row_note(row, "mounted with sync, which makes every write wait for metadata: mount "
			      "it without");
	else if (f->stick_size_bytes && f->stick_free_bytes < LOW_SPACE_BYTES)
		row_note(row, "only %s are free on the stick", text);
	else
		row_reason(row, "%s are free", f->stick_size_bytes ? text : "unknown amounts");
}
