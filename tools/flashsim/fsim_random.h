/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fsim_random.h: seeded random numbers (splitmix64), so that every run can be repeated. */
#ifndef FLASHSIM_FSIM_RANDOM_H
#define FLASHSIM_FSIM_RANDOM_H

#include <assert.h>
#include <stdint.h>

/* A generator is one word of state; equal seeds give equal sequences. */
static inline uint64_t fsim_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Below `bound`, which is not 0 (asserted). The bias is under bound / 2^64. */
static inline uint64_t fsim_random_below(uint64_t *state, uint64_t bound)
{
	assert(bound > 0);
	return fsim_random(state) % bound;
}

/* In (0, 1). */
static inline double fsim_random_unit(uint64_t *state)
{
	return ((double)(fsim_random(state) >> 11) + 0.5) / 9007199254740992.0;
}

#endif
