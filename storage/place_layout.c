/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_layout.c: where segments go in a container, given where its bytes lie on the medium. */
#include "place_layout.h"

#include <errno.h>

/*
 * A file's offsets are not the medium's addresses. Of each physical run, the segments that begin
 * on an erase unit are used and the rest is left alone: less than one unit at its front and less
 * than one segment at its end. The pieces so found are kept in the header, because where a
 * segment lies must not depend on what a later kernel says about the file.
 *
 * Runs that go on at the same distance modulo the unit count as one: a segment may straddle them.
 */
uint32_t place_layout_unit(const struct place_header *header)
{
	return header->erase_bytes != 0 ? header->erase_bytes : header->segment_bytes;
}

uint64_t place_layout_used(const struct place_header *header)
{
	const struct place_piece *last;

	if (header->piece_count == 0)
		return PLACE_HEADER_AREA_BYTES;
	last = &header->pieces[header->piece_count - 1];
	return last->file_bytes + last->len_bytes;
}

static int add_piece(struct place_header *header, uint64_t file_bytes, uint64_t len_bytes)
{
	struct place_piece *last;

	if (len_bytes == 0)
		return 0;
	if (header->piece_count > 0) {
		last = &header->pieces[header->piece_count - 1];
		if (last->file_bytes + last->len_bytes == file_bytes) {
			last->len_bytes += len_bytes;
			return 0;
		}
	}
	if (header->piece_count == PLACE_HEADER_MAX_PIECES)
		return -EOVERFLOW;
	header->pieces[header->piece_count++] = (struct place_piece){file_bytes, len_bytes};
	return 0;
}

/* How far a file offset of this extent lies from a unit's beginning on the medium. */
static uint64_t phase_of(const struct place_extent *extent, uint64_t unit_bytes)
{
	uint64_t file = extent->file_bytes % unit_bytes, medium = extent->medium_bytes % unit_bytes;

	return (medium + unit_bytes - file) % unit_bytes;
}

static uint64_t extent_end(const struct place_extent *extent)
{
	return extent->file_bytes + extent->len_bytes;
}

/* The first extent behind `first` that does not go on in phase; holes end a run as well. */
static size_t run_end(const struct place_extent *extents, size_t extent_count, size_t first,
		      uint64_t unit_bytes)
{
	size_t i = first + 1;

	while (i < extent_count && extents[i].file_bytes == extent_end(&extents[i - 1]) &&
	       phase_of(&extents[i], unit_bytes) == phase_of(&extents[first], unit_bytes))
		i++;
	return i;
}

static uint64_t round_up_to_phase(uint64_t at_bytes, uint64_t phase_bytes, uint64_t unit_bytes)
{
	uint64_t off = (at_bytes + phase_bytes) % unit_bytes;

	return off == 0 ? at_bytes : at_bytes + (unit_bytes - off);
}

int place_layout_add_aligned(struct place_header *header, const struct place_extent *extents,
			     size_t extent_count, uint64_t end_bytes)
{
	uint64_t unit = place_layout_unit(header), segment = header->segment_bytes;
	uint64_t used = place_layout_used(header);
	int r = 0;

	for (size_t i = 0, next; i < extent_count && r == 0; i = next) {
		uint64_t from = extents[i].file_bytes, to;

		next = run_end(extents, extent_count, i, unit);
		to = extent_end(&extents[next - 1]);
		if (to > end_bytes)
			to = end_bytes;
		if (from < used)
			from = used;
		from = round_up_to_phase(from, phase_of(&extents[i], unit), unit);
		if (from % 4096 != 0 || from >= to)
			continue;
		r = add_piece(header, from, (to - from) / segment * segment);
	}
	return r;
}

int place_layout_add_linear(struct place_header *header, uint64_t end_bytes)
{
	uint64_t used = place_layout_used(header), segment = header->segment_bytes;

	if (end_bytes <= used)
		return 0;
	return add_piece(header, used, (end_bytes - used) / segment * segment);
}

void place_layout_trim(struct place_header *header, uint64_t data_bytes)
{
	uint64_t have_bytes = place_header_data_bytes(header);

	while (have_bytes > data_bytes) {
		struct place_piece *last = &header->pieces[header->piece_count - 1];
		uint64_t cut = have_bytes - data_bytes;

		if (cut > last->len_bytes)
			cut = last->len_bytes;
		last->len_bytes -= cut;
		have_bytes -= cut;
		if (last->len_bytes == 0)
			header->piece_count--;
	}
}

static bool piece_is_aligned(const struct place_piece *piece, uint64_t unit,
			     const struct place_extent *extents, size_t extent_count)
{
	for (size_t i = 0, next; i < extent_count; i = next) {
		next = run_end(extents, extent_count, i, unit);
		if (piece->file_bytes < extents[i].file_bytes ||
		    piece->file_bytes >= extent_end(&extents[next - 1]))
			continue;
		return (piece->file_bytes + phase_of(&extents[i], unit)) % unit == 0 &&
		       piece->file_bytes + piece->len_bytes <= extent_end(&extents[next - 1]);
	}
	return false;
}

bool place_layout_is_aligned(const struct place_header *header, const struct place_extent *extents,
			     size_t extent_count)
{
	uint64_t unit = place_layout_unit(header);

	for (uint32_t i = 0; i < header->piece_count; i++)
		if (!piece_is_aligned(&header->pieces[i], unit, extents, extent_count))
			return false;
	return true;
}
