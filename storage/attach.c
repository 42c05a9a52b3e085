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
	s->dev = dev;
}

void sv_io_free(struct sv_store *s)
{
	pthread_rwlock_destroy(&s->dev_lock);
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

int sv_io_read(struct sv_store *s, void *buf, uint64_t len_bytes, uint64_t place)
{
	struct sv_dev *dev = enter(s);

	return leave(s, dev, dev ? sv_dev_read(dev, buf, len_bytes, place) : 0);
}

int sv_io_write(struct sv_store *s, const void *buf, uint64_t len_bytes, uint64_t place)
{
	struct sv_dev *dev = enter(s);

	return leave(s, dev, dev ? sv_dev_write(dev, buf, len_bytes, place) : 0);
}

int sv_io_flush(struct sv_store *s)
{
	struct sv_dev *dev = enter(s);

	return leave(s, dev, dev ? sv_dev_flush(dev) : 0);
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
