/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * attach.c: the device as the store sees it: the calls, what their failure means, and the moments
 * when the device goes away.
 *
 *   attached --a call fails and the medium is gone, or sv_store_detach--> detached
 *   detached --sv_store_reattach (reattach.c), with another device--> attached
 *
 * D1  `dev` is used with dev_lock shared, and replaced or closed with it exclusive. So a call that
 *     still hangs in a device that is gone keeps that device, and whatever it finds out is said of
 *     that device and not of the next one.
 * D2  Once detached, no call reaches the old device any more, and its last user closes it: its
 *     lock on the place is gone then, so that the same place can be opened again.
 * D3  A failure means "gone" if and only if the device says -ENODEV or, asked, is not alive. All
 *     else is an error of one place on the medium, and nothing more.
 */
#include <errno.h>

#include "store_impl.h"

void sv_io_init(struct sv_store *s, struct sv_dev *dev)
{
	pthread_rwlock_init(&s->dev_lock, NULL);
	sv_turns_init(s);
	s->dev = dev;
}

void sv_io_free(struct sv_store *s)
{
	pthread_rwlock_destroy(&s->dev_lock);
	sv_turns_free(s);
}

/* D2: whoever leaves last takes the old device away. Never waits. */
static void close_if_gone(struct sv_store *s)
{
	struct sv_dev *dev = NULL;

	if (!s->owns_dev || !sv_is_detached(s) || pthread_rwlock_trywrlock(&s->dev_lock) != 0)
		return;
	if (sv_is_detached(s)) {
		dev = s->dev;
		s->dev = NULL;
	}
	pthread_rwlock_unlock(&s->dev_lock);
	sv_dev_close(dev);
}

/* The device, kept until leave; NULL while there is none. */
static struct sv_dev *enter(struct sv_store *s)
{
	pthread_rwlock_rdlock(&s->dev_lock);
	return sv_is_detached(s) ? NULL : s->dev;
}

static bool means_gone(struct sv_dev *dev, int r)
{
	switch (r) {
	case -ENODEV:
		return true;
	case -ENOSPC:
	case -ENOMEM:
	case -EINVAL:
		return false;
	default:
		return sv_dev_alive(dev) < 0; /* D3 */
	}
}

/* The result of a call that began with enter. */
static int leave(struct sv_store *s, struct sv_dev *dev, int r)
{
	if (!dev) {
		r = -ENODEV;
	} else if (r < 0 && means_gone(dev, r)) {
		atomic_store(&s->detached, true);
		r = -ENODEV;
	}
	pthread_rwlock_unlock(&s->dev_lock);
	if (r == -ENODEV)
		close_if_gone(s);
	return r;
}

/* In pieces, each behind the reads of guests (turns.c); what they took comes in *ret_us, which may
 * be NULL. A store without threads has nobody to let pass. */
static int in_pieces(struct sv_store *s, struct sv_dev *dev, uint8_t *to, const uint8_t *from,
		     uint64_t len_bytes, uint64_t place, uint64_t *ret_us)
{
	uint64_t sum_us = 0, took_us = 0;
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < len_bytes;) {
		uint64_t n = s->opts.manual ? len_bytes : sv_turns_piece(s);
		uint64_t start_us;

		n = sv_min64(n, len_bytes - at);
		if (!s->opts.manual)
			sv_turns_wait(s, took_us);
		start_us = sv_now_us();
		r = to ? sv_dev_read(dev, to + at, n, place + at)
		       : sv_dev_write(dev, from + at, n, place + at);
		took_us = sv_now_us() - start_us;
		if (r == 0 && from)
			sv_turns_took(s, (uint32_t)n, took_us);
		sum_us += took_us;
		at += n;
	}
	if (ret_us)
		*ret_us = sum_us;
	return r;
}

int sv_io_read(struct sv_store *s, void *buf, uint64_t len_bytes, uint64_t place)
{
	struct sv_dev *dev = enter(s);

	return leave(s, dev, dev ? in_pieces(s, dev, buf, NULL, len_bytes, place, NULL) : 0);
}

int sv_io_write(struct sv_store *s, const void *buf, uint64_t len_bytes, uint64_t place,
		uint64_t *ret_us)
{
	struct sv_dev *dev = enter(s);

	*ret_us = 0;
	return leave(s, dev, dev ? in_pieces(s, dev, NULL, buf, len_bytes, place, ret_us) : 0);
}

int sv_io_read_ahead(struct sv_store *s, void *buf, uint64_t len_bytes, uint64_t place,
		     uint64_t *took_us)
{
	struct sv_dev *dev = enter(s);
	uint64_t start_us;
	int r = 0;

	if (dev) {
		if (!s->opts.manual)
			sv_turns_wait_ahead(s, *took_us);
		start_us = sv_now_us();
		r = sv_dev_read(dev, buf, len_bytes, place);
		*took_us = sv_now_us() - start_us;
	}
	return leave(s, dev, r);
}

/* A guest waits for it. Long ones leave gaps for others once there are any. */
static int read_first(struct sv_store *s, struct sv_dev *dev, uint8_t *buf, uint64_t len_bytes,
		      uint64_t place)
{
	uint64_t most = sv_turns_shared(s) ? sv_turns_piece(s) : len_bytes;
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < len_bytes; at += most)
		r = sv_dev_read(dev, buf + at, sv_min64(most, len_bytes - at), place + at);
	return r;
}

int sv_io_read_first(struct sv_store *s, void *buf, uint64_t len_bytes, uint64_t place)
{
	struct sv_dev *dev = enter(s);
	int r = 0;

	if (dev) {
		sv_turns_read_begins(s);
		r = read_first(s, dev, buf, len_bytes, place);
		sv_turns_read_ends(s);
	}
	return leave(s, dev, r);
}

int sv_io_flush(struct sv_store *s)
{
	struct sv_dev *dev = enter(s);

	return leave(s, dev, dev ? sv_dev_flush(dev) : 0);
}

int sv_io_settle(struct sv_store *s)
{
	struct sv_dev *dev = enter(s);

	return leave(s, dev, dev ? sv_dev_settle(dev) : 0);
}

int sv_io_grow(struct sv_store *s, uint64_t size_bytes)
{
	struct sv_dev *dev = enter(s);

	return leave(s, dev, dev ? sv_dev_grow(dev, size_bytes) : 0);
}

int sv_io_geometry(struct sv_store *s, struct sv_geometry *ret_geometry)
{
	struct sv_dev *dev = enter(s);

	return leave(s, dev, dev ? sv_dev_geometry(dev, ret_geometry) : 0);
}

void sv_store_detach(struct sv_store *s)
{
	atomic_store(&s->detached, true);
	close_if_gone(s);
	pthread_mutex_lock(&s->lock);
	pthread_cond_broadcast(&s->room); /* who waits for room finds out */
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void sv_io_attach(struct sv_store *s, struct sv_dev *dev)
{
	struct sv_dev *old;

	pthread_rwlock_wrlock(&s->dev_lock); /* D1: the last call in the old device has ended */
	old = s->dev;
	s->dev = dev;
	atomic_store(&s->detached, false);
	pthread_rwlock_unlock(&s->dev_lock);
	sv_dev_close(old);
}
