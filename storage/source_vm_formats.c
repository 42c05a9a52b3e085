/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_vm_formats.c: what QEMU would misread of VHD and VDI images is found before. */
#include <errno.h>
#include <string.h>

#include "source_impl.h"

/*
 * A VHD's footer stands at its end, and for a dynamic one also in front. QEMU takes a differencing
 * disk for a dynamic one, and would serve zeros for what its parent has.
 */
#define VHD_TYPE_AT 60u
#define VHD_DIFFERENCING 4u

int source_vhd_check(const struct source_file *file, struct sv_source_error *err)
{
	uint8_t footer[SECTOR_BYTES];

	if (file->bytes < sizeof(footer))
		return source_fail(err, -EBADMSG, "is truncated: it has no whole VHD footer");
	int r = source_file_read(file, footer, sizeof(footer), 0);
	if (r == 0 && memcmp(footer, "conectix", 8) != 0)
		r = source_file_read(file, footer, sizeof(footer), file->bytes - sizeof(footer));
	if (r < 0)
		return source_fail(err, r, "cannot be read: %s", strerror(-r));
	const uint8_t *type = footer + VHD_TYPE_AT;
	if (type[0] == 0 && type[1] == 0 && type[2] == 0 && type[3] == VHD_DIFFERENCING)
		return source_fail(err, -ENOTSUP,
				   "is a differencing VHD, which has only the changes to another "
				   "one; merge the two first");
	return 0;
}

/*
 * A VDI counts its blocks; they lie one behind the other. QEMU reads zeros for what a cut took.
 * VHDX and dynamic VHD images need no such check: QEMU compares their tables with their size.
 */
#define VDI_DATA_AT 0x158u
#define VDI_BLOCK_BYTES_AT 0x178u
#define VDI_ALLOCATED_AT 0x184u
#define VDI_HEADER_BYTES 0x188u

static uint64_t get_le32(const uint8_t *p)
{
	return (uint64_t)p[3] << 24 | (uint64_t)p[2] << 16 | (uint64_t)p[1] << 8 | p[0];
}

int source_vdi_check(const struct source_file *file, struct sv_source_error *err)
{
	uint8_t head[VDI_HEADER_BYTES];

	int r = source_file_read(file, head, sizeof(head), 0);
	if (r < 0 && r != -ENODATA)
		return source_fail(err, r, "cannot be read: %s", strerror(-r));
	/* Two factors of 32 bits and a summand: no overflow. */
	if (r == 0 && get_le32(head + VDI_DATA_AT) + get_le32(head + VDI_BLOCK_BYTES_AT) *
							     get_le32(head + VDI_ALLOCATED_AT) <=
			      file->bytes)
		return 0;
	return source_fail(
		err, -EBADMSG,
		"is truncated or damaged: it has fewer blocks than it says; copy it again");
}
