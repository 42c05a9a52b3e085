/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tune_disk.c: decisions about how the disk reaches the guest and how the stick is written. */
#include "tune_rows.h"

#include <inttypes.h>
#include <stdio.h>

#include "measured.h"
#include "size.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* Guest-visible, so the same on every host: as many queues as cores, up to this. */
#define MAX_QUEUES 4u

static bool is_virtio(enum vm_bus bus)
{
	return bus == VM_BUS_VIRTIO_BLK || bus == VM_BUS_VIRTIO_SCSI;
}

static const char *bus_text(enum vm_bus bus)
{
	static const char *const names[] = {
		[VM_BUS_VIRTIO_BLK] = "virtio-blk",
		[VM_BUS_VIRTIO_SCSI] = "virtio-scsi",
		[VM_BUS_NVME] = "NVMe",
		[VM_BUS_SATA] = "SATA",
		[VM_BUS_USB] = "USB",
	};

	return names[bus];
}

void decide_transport(const struct input *in, struct plan *plan, struct decision *row)
{
	const char *kernel = in->facts->host_kernel;
	unsigned major = 0, minor = 0;

	(void)plan;
	row_value(row, "fuse");
	if (in->facts->host_fuse == FACT_NO) {
		row_refuse(row, EXIT_FAILED,
			   "/dev/fuse: it may not be opened; load its module (modprobe fuse), let "
			   "users open it (chmod 666 /dev/fuse) and "
			   "install fuse3");
		return;
	}
	if (kernel)
		sscanf(kernel, "%3u.%3u", &major, &minor);
	if (major > 6 || (major == 6 && minor >= 2))
		row_reason(row, "the disk as a file; kernel %s lets direct writes run side by side",
			   kernel);
	else
		row_reason(row, "the disk as a file; kernel %s queues direct writes one by one",
			   kernel ? kernel : "unknown");
}

void decide_cache(const struct input *in, struct plan *plan, struct decision *row)
{
	(void)in;
	(void)plan;
	row_value(row, "direct");
	row_reason(row, "after one failed flush a cached file fails for ever; the engine has its "
			"own cache");
}

void decide_aio(const struct input *in, struct plan *plan, struct decision *row)
{
	const struct facts *f = in->facts;

	plan->aio = PLAN_THREADS;
	if (f->host_io_uring == FACT_YES && f->qemu_io_uring == FACT_YES) {
		plan->aio = PLAN_IO_URING;
		row_reason(row, "kernel and QEMU have it");
	} else if (f->host_io_uring != FACT_YES) {
		row_reason(row, "io_uring cannot be used on this host");
	} else {
		row_reason(row, "this QEMU was built without io_uring");
	}
	row_value(row, "%s", plan->aio == PLAN_IO_URING ? "io_uring" : "threads");
}

void decide_iothread(const struct input *in, struct plan *plan, struct decision *row)
{
	const uint64_t cpus = in->facts->host_cpus;

	plan->iothread = is_virtio(in->vm->bus) && cpus > 1;
	row_value(row, "%d", plan->iothread);
	if (!is_virtio(in->vm->bus))
		row_reason(row, "%s is served by QEMU's main loop", bus_text(in->vm->bus));
	else if (plan->iothread)
		row_reason(row, "the disk's requests do not wait for the main loop");
	else
		row_reason(row, "one processor: another thread would only add switches");
}

void decide_queues(const struct input *in, struct plan *plan, struct decision *row)
{
	plan->queues = in->vm->cpus < MAX_QUEUES ? in->vm->cpus : MAX_QUEUES;
	plan->queue_entries = 256;
	if (is_virtio(in->vm->bus)) {
		row_value(row, "%" PRIu32 " of %" PRIu32, plan->queues, plan->queue_entries);
		row_reason(row,
			   "one a core up to %u; part of the machine, so not the host's to "
			   "choose",
			   MAX_QUEUES);
	} else {
		row_value(row, "of the bus");
		row_reason(row, "%s has its own", bus_text(in->vm->bus));
	}
}

void decide_discard(const struct input *in, struct plan *plan, struct decision *row)
{
	(void)in;
	(void)plan;
	row_value(row, "unmap");
	row_reason(row, "what the guest discards frees space on the stick and is never cleaned");
}

void decide_zeroes(const struct input *in, struct plan *plan, struct decision *row)
{
	(void)in;
	(void)plan;
	row_value(row, "off");
	row_reason(row, "the engine stores no blocks of zeros anyway");
}

void decide_errors(const struct input *in, struct plan *plan, struct decision *row)
{
	plan->stop_on_error = in->vm->bus != VM_BUS_NVME;
	row_value(row, "%s", plan->stop_on_error ? "stop" : "report");
	if (plan->stop_on_error)
		row_reason(row, "a failed request stops the VM and can be repeated: the guest "
				"never knows");
	else
		row_reason(row, "QEMU's NVMe cannot stop on errors: the guest gets them");
}

/* At most what the stick writes in 2 s: as measured, or what its link carries (USB 2 some 35 MB/s,
 * USB 1 under 1 MB/s). */
void decide_batch_size(const struct input *in, struct plan *plan, struct decision *row)
{
	const uint64_t speed = in->facts->stick_speed_mbps;
	const uint64_t rate = in->facts->stick_write_rate;
	char text[32];

	if (rate != 0) {
		plan->batch_bytes = measured_batch_bytes(rate);
		row_reason(row, "at most what the stick writes in 2 s, measured: %.1f MB/s",
			   (double)rate / 1e6);
	} else if (speed == 0) {
		plan->batch_bytes = BATCH_MOST_BYTES;
		row_reason(row, "the most there is; the stick's link is not known");
	} else {
		plan->batch_bytes = speed >= 480 ? BATCH_MOST_BYTES : 1 * MIB;
		row_reason(row, "at most what a link of %" PRIu64 " Mbit/s carries in 2 s", speed);
	}
	size_human(plan->batch_bytes, text, sizeof text);
	row_value(row, "%s", text);
}

void decide_unit_size(const struct input *in, struct plan *plan, struct decision *row)
{
	const struct facts *f = in->facts;
	char text[32];

	plan->unit_bytes = measured_unit_bytes(f->stick_read_rate, f->stick_random_read_us);
	if (plan->unit_bytes == 0) {
		row_value(row, "default");
		row_reason(row, "the stick was not measured; 'stickvm probe' does");
		return;
	}
	size_human(plan->unit_bytes, text, sizeof text);
	row_value(row, "%s", text);
	row_reason(row,
		   "a read anywhere costs at most 1.25 times one of 4 KiB, measured: %" PRIu64
		   " us",
		   f->stick_random_read_us);
}

void decide_batch_age(const struct input *in, struct plan *plan, struct decision *row)
{
	(void)in;
	plan->batch_age_ms = 2000;
	row_value(row, "2 s");
	row_reason(row, "what the guest did not flush is on the stick after this time");
}

void decide_map_ram(const struct input *in, struct plan *plan, struct decision *row)
{
	const uint64_t free_bytes = in->facts->host_mem_free_bytes;
	char text[32], have[32];

	plan->map_ram_bytes = 36 * MIB;
	size_human(free_bytes, have, sizeof have);
	if (free_bytes && free_bytes < 2 * GIB) {
		plan->map_ram_bytes = 16 * MIB;
		row_reason(row, "less than usual: only %s are available here", have);
	} else {
		row_reason(row, "holds the whole map of a disk of some 16 GiB; the rest is paged");
	}
	size_human(plan->map_ram_bytes, text, sizeof text);
	row_value(row, "%s", text);
}

void decide_durability(const struct input *in, struct plan *plan, struct decision *row)
{
	const char *driver = in->facts->stick_driver;

	(void)plan;
	row_value(row, "stick");
	row_reason(row, "a guest's flush returns when its data is on the stick (link: %s)",
		   driver ? driver : "unknown");
}
