/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay.c: feeds files to a fuzz target, without a fuzzer: its corpus, and what was once found. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

/*
 * Every input must be done within the time, whatever the machine is busy with otherwise, and
 * within the memory (with AddressSanitizer, whose shadow is larger than any limit, libFuzzer's
 * own run of the long tier sees to that). No file at all is a failure, not a success.
 */
#define SECONDS_EACH 60u
#define MEMORY_BYTES (UINT64_C(2) << 30)
#define FILE_BYTES_MAX (4u << 20)

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
	(void)data;
	(void)max_size;
	return size; /* nothing is mutated here; a custom mutator refers to it */
}

static void limit_memory(void)
{
#ifndef __SANITIZE_ADDRESS__
	struct rlimit limit = {.rlim_cur = MEMORY_BYTES, .rlim_max = MEMORY_BYTES};

	if (setrlimit(RLIMIT_AS, &limit) < 0)
		abort();
#endif
}

static unsigned run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *all = malloc(FILE_BYTES_MAX), *exact;
	size_t len;

	if (file == NULL || all == NULL) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(1);
	}
	len = fread(all, 1, FILE_BYTES_MAX, file);
	fclose(file);
	exact = fuzz_copy(all, len);
	free(all);
	fprintf(stderr, "%s\n", path); /* the last line names the file that did it */
	alarm(SECONDS_EACH);
	if (LLVMFuzzerTestOneInput(exact, len) != 0)
		abort();
	alarm(0);
	free(exact);
	return 1;
}

static unsigned run_path(const char *path)
{
	struct dirent **names;
	struct stat st;
	unsigned count = 0;
	int found;

	if (stat(path, &st) < 0)
		return 0;
	if (!S_ISDIR(st.st_mode))
		return run_file(path);
	found = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < found; i++) {
		char inside[4096];

		snprintf(inside, sizeof(inside), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			count += run_path(inside);
		free(names[i]);
	}
	if (found >= 0)
		free(names);
	return count;
}

int main(int argc, char **argv)
{
	unsigned count = 0;

	limit_memory();
	for (int i = 1; i < argc; i++)
		count += run_path(argv[i]);
	printf("%u inputs\n", count);
	return count == 0;
}
