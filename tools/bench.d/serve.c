/* SPDX-License-Identifier: GPL-2.0-or-later */
/* serve.c: a store in a folder or on a raw device as DIR/disk.raw, without the launcher. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stickvm/fuse.h"
#include "stickvm/place.h"
#include "stickvm/status_json.h"
#include "stickvm/store.h"

/*
 *	bench-serve [--create SIZE] [--page BYTES] [--erase BYTES] [--open-units N] [--unit BYTES]
 *		[--cache FOLDER] [--cache-bytes N] [--ram BYTES] PLACE DIR
 *
 * PLACE is a folder, a block device or a file. With --create a place and a store of SIZE are made
 * first, with the geometry that a probe would have measured. --cache keeps the host's cache there
 * (8 GiB unless --cache-bytes says else), under a key of zeros; --ram bounds the one in memory.
 *Serves in the foreground until DIR is unmounted, closes the store, and prints its session's ledger
 *as JSON.
 */
struct arguments {
	uint64_t disk_bytes;
	struct sv_place_params place;
	struct sv_open_options options;
	const char *path;
	const char *mount_dir;
};

static int make(const struct arguments *args)
{
	struct sv_format_params params = {.size_bytes = args->disk_bytes};
	struct sv_dev *dev;
	int r = sv_place_create(args->path, &args->place);
	if (r == 0)
		r = sv_place_open(args->path, false, &dev);
	if (r < 0)
		return r;
	r = sv_store_format(dev, &params);
	sv_dev_close(dev);
	return r;
}

static int serve(const struct arguments *args, struct sv_store *store)
{
	struct sv_fuse_options options = {.name = "bench"};
	struct sv_fuse *fuse;
	int r = sv_fuse_mount(store, args->mount_dir, &options, &fuse);
	if (r < 0) {
		fprintf(stderr, "bench-serve: %s: %s\n", args->mount_dir, sv_fuse_why());
		return r;
	}
	r = sv_fuse_run(fuse);
	sv_fuse_destroy(fuse);
	return r;
}

static int print_session(const struct sv_status *status)
{
	char *text;
	int r = sv_ledger_json(&status->session, &text);
	if (r < 0)
		return r;
	fputs(text, stdout);
	free(text);
	return 0;
}

static int open_and_serve(const struct arguments *args)
{
	struct sv_status status;
	struct sv_store *store;
	struct sv_dev *dev;
	int r = sv_place_open(args->path, false, &dev);
	if (r < 0)
		return r;
	r = sv_store_open(dev, &args->options, &store);
	if (r < 0) {
		fprintf(stderr, "bench-serve: %s: %s\n", args->path, sv_store_why());
		sv_dev_close(dev);
		return r;
	}
	r = serve(args, store);
	int flushed = sv_store_flush(store);
	sv_store_status(store, &status);
	int closed = sv_store_close(store);
	if (r == 0)
		r = flushed < 0 ? flushed : closed;
	return r < 0 ? r : print_session(&status);
}

static int parse(int argc, char **argv, struct arguments *args)
{
	static const struct option list[] = {
		{"create", required_argument, NULL, 'c'},
		{"page", required_argument, NULL, 'p'},
		{"erase", required_argument, NULL, 'e'},
		{"open-units", required_argument, NULL, 'o'},
		{"unit", required_argument, NULL, 'u'},
		{"cache", required_argument, NULL, 'd'},
		{"cache-bytes", required_argument, NULL, 'b'},
		{"ram", required_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	static const uint8_t key[SV_CACHE_KEY_BYTES];
	int c;

	args->options = (struct sv_open_options){
		.host = "bench-serve", .cache_key = key, .cache_bytes = UINT64_C(8) << 30};
	while ((c = getopt_long(argc, argv, "", list, NULL)) != -1) {
		uint64_t value = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;
		if (c == 'c')
			args->disk_bytes = value;
		else if (c == 'p')
			args->place.page_bytes = (uint32_t)value;
		else if (c == 'e')
			args->place.erase_bytes = (uint32_t)value;
		else if (c == 'o')
			args->place.open_units = (uint32_t)value;
		else if (c == 'u')
			args->options.unit_bytes = (uint32_t)value;
		else if (c == 'd')
			args->options.cache_dir = optarg;
		else if (c == 'b')
			args->options.cache_bytes = value;
		else if (c == 'r')
			args->options.cache_ram_bytes = value;
		else
			return -EINVAL;
	}
	if (optind != argc - 2)
		return -EINVAL;
	args->path = argv[optind];
	args->mount_dir = argv[optind + 1];
	return 0;
}

int main(int argc, char **argv)
{
	struct arguments args = {0};
	if (parse(argc, argv, &args) < 0) {
		fprintf(stderr, "usage: bench-serve [--create SIZE] [--page BYTES] [--erase BYTES]"
				" [--open-units N] [--unit BYTES] [--cache FOLDER]"
				" [--cache-bytes N] [--ram BYTES] PLACE DIR\n");
		return 2;
	}
	int r = args.disk_bytes > 0 ? make(&args) : 0;
	if (r == 0)
		r = open_and_serve(&args);
	if (r < 0)
		fprintf(stderr, "bench-serve: %s: %s\n", args.path, strerror(-r));
	return r < 0;
}
