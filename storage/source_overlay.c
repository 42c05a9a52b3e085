/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_overlay.c: a layer over its backing source, of whatever formats the two are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "source_impl.h"

/*
 * What a layer calls BELOW is the backing source's at the same offset, and zeros where that is
 * shorter. The layer alone gives the size: an overlay may be larger or smaller than its backing.
 */
struct source_overlay {
	struct sv_source head;
	struct sv_source *layer;
	struct sv_source *below;
};

static struct source_overlay *overlay_of(struct sv_source *src)
{
	return (struct source_overlay *)src;
}

static int pass_error(struct source_overlay *ov, const struct sv_source *from, int r)
{
	if (from == ov->layer)
		return source_fail(&ov->head.error, r, "%s", from->error.text);
	return source_fail(&ov->head.error, r, "in its backing file: %s", from->error.text);
}

/* A run that no layer splits: its kind, and the source that holds it. */
static int overlay_run(struct source_overlay *ov, uint64_t off_bytes, enum sv_extent *ret_kind,
		       struct sv_source **ret_from, uint64_t *ret_len_bytes)
{
	uint64_t len_bytes, below_bytes;
	enum sv_extent kind;

	int r = ov->layer->ops->next(ov->layer, off_bytes, &kind, &len_bytes);
	if (r < 0)
		return pass_error(ov, ov->layer, r);
	*ret_from = ov->layer;
	if (kind == SV_EXTENT_BELOW && off_bytes >= ov->below->size_bytes) {
		kind = SV_EXTENT_HOLE;
	} else if (kind == SV_EXTENT_BELOW) {
		r = sv_source_next(ov->below, off_bytes, &kind, &below_bytes);
		if (r < 0)
			return pass_error(ov, ov->below, r);
		if (below_bytes < len_bytes)
			len_bytes = below_bytes;
		*ret_from = ov->below;
	}
	*ret_kind = kind;
	*ret_len_bytes = len_bytes;
	return 0;
}

static int overlay_next(struct sv_source *src, uint64_t off_bytes, enum sv_extent *ret_kind,
			uint64_t *ret_len_bytes)
{
	struct sv_source *from;

	return overlay_run(overlay_of(src), off_bytes, ret_kind, &from, ret_len_bytes);
}

static int overlay_read(struct sv_source *src, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct source_overlay *ov = overlay_of(src);
	char *to = buf;

	while (len_bytes > 0) {
		struct sv_source *from;
		enum sv_extent kind;
		uint64_t run_bytes;
		int r = overlay_run(ov, off_bytes, &kind, &from, &run_bytes);
		if (r < 0)
			return r;
		size_t part = run_bytes < len_bytes ? (size_t)run_bytes : len_bytes;
		if (kind == SV_EXTENT_HOLE) {
			memset(to, 0, part);
		} else {
			r = sv_source_read(from, to, part, off_bytes);
			if (r < 0)
				return pass_error(ov, from, r);
		}
		to += part;
		off_bytes += part;
		len_bytes -= part;
	}
	return 0;
}

static void overlay_close(struct sv_source *src)
{
	struct source_overlay *ov = overlay_of(src);

	sv_source_close(ov->layer);
	sv_source_close(ov->below);
	free(ov);
}

static const struct sv_source_ops overlay_ops = {
	.read = overlay_read,
	.next = overlay_next,
	.close = overlay_close,
};

int source_overlay_open(struct sv_source *layer, struct sv_source *below,
			struct sv_source **ret_source)
{
	struct source_overlay *ov = calloc(1, sizeof(*ov));

	if (!ov)
		return -ENOMEM;
	ov->head.ops = &overlay_ops;
	ov->head.format = layer->format;
	ov->head.size_bytes = layer->size_bytes;
	ov->layer = layer;
	ov->below = below;
	*ret_source = &ov->head;
	return 0;
}
