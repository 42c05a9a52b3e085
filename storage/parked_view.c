/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * parked_view.c: a stick as it would be had the parked session gone on, as a device to be read.
 *
 * Others have gone on from an earlier point than where the parked session was. Up to that point
 * both have the same chain; what they appended lies behind it, in segments that were free to them,
 * and the log only comes round to older ones after a while. So laying over what is there
 *
 *	W1  both anchors as the parked session had them,
 *	W2  its appends, each at its place,
 *	W3  zeros behind its last append, and in the two segments that it names as next, where
 *	    theirs may follow,
 *
 * gives the log of the parked session, for recovery to walk. W3 hides nothing of it: those
 * segments were free (L2). What was written over since fails its check, which binds the segment's
 * generation, and is EIO as any damage is.
 */
#include <errno.h>
#include <stdlib.h>

#include "parked.h"

struct view {
	struct sv_dev dev;
	const struct sv_parked *parked;
	struct sv_dev *below;
	struct sv_geometry geo;
	uint64_t below_bytes;
	uint8_t anchor[SV_ANCHOR_BYTES];
};

static struct view *of(struct sv_dev *dev)
{
	return (struct view *)dev;
}

/* Lays [place, place + len) with these bytes (NULL: zeros) over what was read from `off`. */
static void lay(uint8_t *buf, uint64_t off, uint64_t count, const uint8_t *bytes, uint64_t place,
		uint64_t len)
{
	uint64_t from = sv_max64(off, place), to = sv_min64(off + count, place + len);

	if (from >= to)
		return;
	if (bytes)
		memcpy(buf + (from - off), bytes + (from - place), to - from);
	else
		memset(buf + (from - off), 0, to - from);
}

static int read_below(struct view *v, uint8_t *buf, uint64_t len, uint64_t off)
{
	uint64_t there = off < v->below_bytes ? sv_min64(len, v->below_bytes - off) : 0;

	memset(buf + there, 0, len - there);
	return there ? sv_dev_read(v->below, buf, there, off) : 0;
}

static int view_read(struct sv_dev *dev, void *buf, size_t len, uint64_t off)
{
	struct view *v = of(dev);
	const struct sv_park_head *h = &v->parked->head;
	const uint64_t segment = h->anchor.segment_bytes;
	int r = read_below(v, buf, len, off);

	if (r < 0)
		return r;
	lay(buf, off, len, NULL, h->segment * segment + h->offset, segment - h->offset); /* W3 */
	lay(buf, off, len, NULL, h->next * segment, segment);
	lay(buf, off, len, NULL, h->after * segment, segment);
	for (uint32_t i = 0; i < h->appends; i++) /* W2 */
		lay(buf, off, len, v->parked->bytes[i], v->parked->append[i].place,
		    v->parked->append[i].len_bytes);
	for (unsigned i = 0; i < 2; i++) /* W1 */
		lay(buf, off, len, v->anchor, i * segment, SV_ANCHOR_BYTES);
	return 0;
}

static int view_write(struct sv_dev *dev, const void *buf, size_t len, uint64_t off)
{
	(void)dev;
	(void)buf;
	(void)len;
	(void)off;
	return -EROFS;
}

static int view_flush(struct sv_dev *dev)
{
	(void)dev;
	return 0;
}

static int view_range(struct sv_dev *dev, uint64_t off, uint64_t len)
{
	(void)dev;
	(void)off;
	(void)len;
	return -EROFS;
}

static int view_grow(struct sv_dev *dev, uint64_t size)
{
	(void)dev;
	(void)size;
	return -EROFS;
}

static int view_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	*ret_geometry = of(dev)->geo;
	return 0;
}

static int view_alive(struct sv_dev *dev)
{
	return sv_dev_alive(of(dev)->below);
}

static void view_close(struct sv_dev *dev)
{
	free(of(dev));
}

static const struct sv_dev_ops ops = {
	.read = view_read,
	.write = view_write,
	.flush = view_flush,
	.discard = view_range,
	.grow = view_grow,
	.geometry = view_geometry,
	.alive = view_alive,
	.close = view_close,
};

/* Whether it is a place of this store at all, whatever was written to it since. */
static int check_store(struct view *v)
{
	const uint64_t segment = v->parked->head.anchor.segment_bytes;
	struct sv_anchor anchor;
	uint8_t *buf;
	int r = -EMEDIUMTYPE;

	if (posix_memalign((void **)&buf, 4096, SV_ANCHOR_BYTES))
		return -ENOMEM;
	for (unsigned i = 0; r != 0 && i < 2; i++) {
		if (i * segment + SV_ANCHOR_BYTES > v->below_bytes ||
		    sv_dev_read(v->below, buf, SV_ANCHOR_BYTES, i * segment) < 0 ||
		    sv_anchor_decode(buf, &anchor) < 0)
			continue;
		if (memcmp(anchor.store_id, v->parked->head.anchor.store_id, SV_STORE_ID_BYTES) ==
		    0)
			r = 0;
	}
	free(buf);
	return r;
}

int sv_parked_view(const struct sv_parked *parked, struct sv_dev *dev, struct sv_dev **ret_view)
{
	struct view *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	v->dev = (struct sv_dev){&ops, "parked"};
	v->parked = parked;
	v->below = dev;
	r = sv_dev_geometry(dev, &v->geo);
	v->below_bytes = v->geo.size_bytes;
	if (r == 0)
		r = check_store(v);
	if (r < 0) {
		free(v);
		return r;
	}
	v->geo.size_bytes = sv_max64(v->geo.size_bytes,
				     parked->head.segments * parked->head.anchor.segment_bytes);
	v->geo.max_bytes = sv_max64(v->geo.max_bytes, v->geo.size_bytes);
	sv_anchor_encode(&parked->head.anchor, v->anchor);
	*ret_view = &v->dev;
	return 0;
}
