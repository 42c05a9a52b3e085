/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stats.c: counters and the histogram of erases, in one JSON object. */
#include "stats.h"

#include <jansson.h>
#include <stdlib.h>

/* {"erases": blocks that were erased so often}, in ascending order. */
static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static json_t *erase_histogram(struct fsim_stick *stick)
{
	uint32_t *erases;
	size_t count;
	if (fsim_stick_erases(stick, &erases, &count) < 0)
		return NULL;
	qsort(erases, count, sizeof(*erases), by_value);
	json_t *histogram = json_array();
	for (size_t i = 0; i < count;) {
		size_t same = i;
		while (same < count && erases[same] == erases[i])
			same++;
		json_array_append_new(histogram,
				      json_pack("{s:I, s:I}", "erases", (json_int_t)erases[i],
						"blocks", (json_int_t)(same - i)));
		i = same;
	}
	free(erases);
	return histogram;
}

static void put(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

char *fsim_stats_json(struct fsim_stick *stick)
{
	const struct fsim_profile *profile = fsim_stick_profile(stick);
	struct fsim_counters c;
	json_t *root = json_object();

	fsim_stick_counters(stick, &c);
	json_object_set_new(root, "profile", json_string(profile->id));
	json_object_set_new(root, "name", json_string(profile->name));
	put(root, "size_bytes", fsim_stick_size(stick));
	put(root, "page_bytes", profile->page_bytes);
	put(root, "erase_bytes", profile->erase_bytes);
	put(root, "open_units", profile->open_units);
	put(root, "commands", c.read_commands + c.write_commands + c.flush_commands);
	put(root, "read_commands", c.read_commands);
	put(root, "write_commands", c.write_commands);
	put(root, "flush_commands", c.flush_commands);
	put(root, "read_bytes", c.read_bytes);
	put(root, "written_bytes", c.written_bytes);
	put(root, "pages_programmed", c.pages_programmed);
	put(root, "pages_copied", c.pages_copied);
	put(root, "pages_cached", c.pages_cached);
	put(root, "erases", c.erases);
	put(root, "failed_blocks", c.failed_blocks);
	json_object_set_new(root, "write_amplification", json_real(c.write_amplification));
	json_object_set_new(root, "busy_s", json_real((double)c.busy_ns / 1e9));
	json_object_set_new(root, "clock_s", json_real((double)c.clock_ns / 1e9));
	json_object_set_new(root, "erase_histogram", erase_histogram(stick));
	char *text = json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
	json_decref(root);
	return text;
}
