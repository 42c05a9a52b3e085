/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bytes.h: little-endian cursors that cannot leave their buffer. */
#ifndef STORAGE_BYTES_H
#define STORAGE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * A cursor never moves past its end: a put or get that would not fit sets `bad` and does nothing
 * (a get gives 0). Codecs do all their puts or gets and look at `bad` once.
 */
struct sv_cur {
	uint8_t *p;
	size_t len;
	size_t off;
	bool bad;
};

static inline struct sv_cur sv_cur_over(void *buf, size_t len)
{
	return (struct sv_cur){.p = buf, .len = len};
}

static inline uint8_t *sv_cur_take(struct sv_cur *c, size_t n)
{
	if (c->bad || n > c->len - c->off) {
		c->bad = true;
		return NULL;
	}
	c->off += n;
	return c->p + c->off - n;
}

static inline void sv_put_le(struct sv_cur *c, uint64_t v, unsigned n)
{
	uint8_t *p = sv_cur_take(c, n);

	for (unsigned i = 0; p && i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t sv_get_le(struct sv_cur *c, unsigned n)
{
	const uint8_t *p = sv_cur_take(c, n);
	uint64_t v = 0;

	for (unsigned i = 0; p && i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static inline void sv_put8(struct sv_cur *c, uint8_t v)
{
	sv_put_le(c, v, 1);
}

static inline void sv_put16(struct sv_cur *c, uint16_t v)
{
	sv_put_le(c, v, 2);
}

static inline void sv_put32(struct sv_cur *c, uint32_t v)
{
	sv_put_le(c, v, 4);
}

static inline void sv_put64(struct sv_cur *c, uint64_t v)
{
	sv_put_le(c, v, 8);
}

static inline uint8_t sv_get8(struct sv_cur *c)
{
	return (uint8_t)sv_get_le(c, 1);
}

static inline uint16_t sv_get16(struct sv_cur *c)
{
	return (uint16_t)sv_get_le(c, 2);
}

static inline uint32_t sv_get32(struct sv_cur *c)
{
	return (uint32_t)sv_get_le(c, 4);
}

static inline uint64_t sv_get64(struct sv_cur *c)
{
	return sv_get_le(c, 8);
}

static inline void sv_put_bytes(struct sv_cur *c, const void *src, size_t n)
{
	uint8_t *p = sv_cur_take(c, n);

	if (p)
		memcpy(p, src, n);
}

static inline void sv_get_bytes(struct sv_cur *c, void *dst, size_t n)
{
	const uint8_t *p = sv_cur_take(c, n);

	if (p)
		memcpy(dst, p, n);
	else
		memset(dst, 0, n);
}

/* `a` is a power of two. */
static inline uint64_t sv_align_up(uint64_t v, uint64_t a)
{
	return (v + a - 1) & ~(a - 1);
}

static inline uint64_t sv_align_down(uint64_t v, uint64_t a)
{
	return v & ~(a - 1);
}

static inline uint64_t sv_min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t sv_max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
