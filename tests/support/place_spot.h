/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_spot.h: a fresh folder for the tests of places, and what they do with one. */
#ifndef TEST_PLACE_SPOT_H
#define TEST_PLACE_SPOT_H

#include "stickvm/place.h"

/*
 * Tests run in a folder of their own under $STICKVM_TEST_DIR (default /tmp), so that
 * tests/cli/place_fs.sh can run them on any file system.
 */
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define SEGMENT (64 * KIB)

struct spot {
	char base[200]; /* a fresh folder */
	char path[240]; /* a place in it, not made yet */
};

extern const struct sv_place_params small_params;

/* What cmocka calls before and after a test; the state is a struct spot. */
int enter_spot(void **state);
int leave_spot(void **state);
/* The rest asserts: it fails the test where it cannot do what it is named for. */
struct sv_dev *open_ok(const char *path, bool read_only);
struct sv_geometry geometry_of(struct sv_dev *dev);
void *block_buffer(size_t len_bytes);
/* Content that says where it belongs. */
void fill_from(void *buf, size_t len_bytes, uint64_t off_bytes, uint64_t version);
void write_range(struct sv_dev *dev, uint64_t off_bytes, size_t len_bytes, uint64_t version);
void check_range(struct sv_dev *dev, uint64_t off_bytes, size_t len_bytes, uint64_t version);
/* A place that has grown to `size_bytes`, every byte of it written and flushed. */
void make_filled(const struct spot *spot, uint64_t size_bytes);
void container_path(const struct spot *spot, const char *name, char (*ret_path)[300]);
int container_open(const struct spot *spot, const char *name);
/* Flips a bit of a container. */
void damage(const struct spot *spot, const char *name, uint64_t off_bytes);

#define SPOT_TEST(name) cmocka_unit_test_setup_teardown(name, enter_spot, leave_spot)

#endif
