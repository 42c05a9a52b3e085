/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clean_theory.h: what a cleaner must copy, by theory: bytes of survivors for each guest byte. */
#ifndef TEST_CLEAN_THEORY_H
#define TEST_CLEAN_THEORY_H

#include <math.h>

/*
 * Uniform random writes, the emptiest segment first: WA = a / (a + W0(-a e^-a)) with a = 1/u. With
 * x = -W0 (the solution below 1 of x e^-x = a e^-a) a victim is x/a full.
 */
static inline double greedy_part(double u)
{
	double a = 1 / u, want = a * exp(-a), low = 0, high = 1;

	if (u >= 1)
		return INFINITY;
	for (int i = 0; i < 100; i++) {
		double x = (low + high) / 2;

		if (x * exp(-x) < want)
			low = x;
		else
			high = x;
	}
	return low / (a - low);
}

/* A part `blocks` of the blocks takes the part `writes` of the writes; each group has segments of
 * its own, and the room that is left is shared out so that the sum is least. */
static inline double ideal_split(double u, double blocks, double writes)
{
	double best = INFINITY, spare = 1 - u;

	for (int i = 1; i < 1000; i++) {
		double hot = u * blocks, cold = u * (1 - blocks), f = i / 1000.0;
		double sum = writes * greedy_part(hot / (hot + f * spare)) +
			     (1 - writes) * greedy_part(cold / (cold + (1 - f) * spare));

		if (sum < best)
			best = sum;
	}
	return best;
}

#endif
