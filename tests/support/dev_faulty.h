/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_faulty.h: a decorator that fails chosen calls and flips bits in what is read. */
#ifndef TEST_DEV_FAULTY_H
#define TEST_DEV_FAULTY_H

#include "stickvm/dev.h"

enum dev_faulty_call {
	DEV_FAULTY_READ,
	DEV_FAULTY_WRITE,
	DEV_FAULTY_FLUSH,
	DEV_FAULTY_DISCARD,
	DEV_FAULTY_GROW,
	DEV_FAULTY_CALLS,
};

/* A failing write first passes the first half of its sectors on (D3: its range is undefined). */
struct dev_faulty_rule {
	uint64_t nth;	 /* this call of its kind fails, from 1; 0: none */
	bool for_good;	 /* and so does every later one */
	int error;	 /* a positive errno, returned negative */
	uint64_t calls;	 /* counts calls of this kind; set to 0 to count anew */
	uint64_t failed; /* counts failures */
};

#define DEV_FAULTY_FLIPS 8

/* The test's; it must outlive the device. Change it only while no call runs. */
struct dev_faulty {
	struct dev_faulty_rule rules[DEV_FAULTY_CALLS];
	/* Every read that covers off_bytes gets that byte XORed with the mask; mask 0: unused. */
	struct {
		uint64_t off_bytes;
		uint8_t mask;
	} flips[DEV_FAULTY_FLIPS];
	/* Reads that touch [bad_off, bad_off + bad_len) fail with -EIO; length 0: none. */
	uint64_t bad_off_bytes, bad_len_bytes;
};

/* Takes over `inner`: closing the new device closes it. */
struct sv_dev *dev_faulty_create(struct sv_dev *inner, struct dev_faulty *faults);

#endif
