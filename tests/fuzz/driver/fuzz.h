/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz.h: what the fuzz targets share: the entry point, a reader of their input, files. */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A target is one file in tests/fuzz/ with the first of these. It must return 0 for every input,
 * within 5 s and 512 MiB; what it finds it says by aborting.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Optional: a mutation that keeps an input well-formed. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
/* libFuzzer's own mutations, for the one above. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* A property that every input must leave true. Stays on in release. */
#define fuzz_must(what)                                                                            \
	do {                                                                                       \
		if (!(what))                                                                       \
			fuzz_broken(#what, __FILE__, __LINE__);                                    \
	} while (0)
_Noreturn void fuzz_broken(const char *what, const char *file, int line);

/* Takes an input apart; reads zeros past its end. */
struct fuzz_in {
	const uint8_t *at;
	size_t left;
};
uint8_t fuzz_u8(struct fuzz_in *in);
uint16_t fuzz_u16(struct fuzz_in *in);
/* At most `most` of the bytes that are left; borrowed. */
const uint8_t *fuzz_bytes(struct fuzz_in *in, size_t most, size_t *ret_len);

/* A copy of exactly this size on the heap, so that a read past its end is seen. To be freed. */
uint8_t *fuzz_copy(const uint8_t *data, size_t size);
/* A file in memory with these bytes, at its start; to be closed. */
int fuzz_memory_file(const uint8_t *data, size_t size);
/* A name under which it can be opened once more. */
void fuzz_file_name(int fd, char ret_path[32]);
/* A folder in memory where there is one, removed at the end of the program. */
const char *fuzz_folder(void);
/* Puts a file with these bytes at this path. */
void fuzz_put_file(const char *path, const uint8_t *data, size_t size);

#endif
