/* SPDX-License-Identifier: GPL-2.0-or-later */
/* prng.h: a seeded sequence of numbers (splitmix64), the same on every host. */
#ifndef TEST_PRNG_H
#define TEST_PRNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct prng {
	uint64_t state;
};

static inline uint64_t prng_next(struct prng *rng)
{
	uint64_t z = (rng->state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* A number below `bound` (> 0). The bias of the remainder does not matter to tests. */
static inline uint64_t prng_below(struct prng *rng, uint64_t bound)
{
	return prng_next(rng) % bound;
}

/* True once in `n` times. */
static inline bool prng_one_in(struct prng *rng, uint64_t n)
{
	return prng_below(rng, n) == 0;
}

static inline void prng_fill(struct prng *rng, void *buf, size_t len_bytes)
{
	uint8_t *bytes = buf;

	while (len_bytes > 0) {
		uint64_t word = prng_next(rng);
		size_t n = len_bytes < sizeof(word) ? len_bytes : sizeof(word);

		memcpy(bytes, &word, n);
		bytes += n;
		len_bytes -= n;
	}
}

#endif
