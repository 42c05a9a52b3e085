/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_scratch.c: a file without a name, for measuring the medium below a folder. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stickvm/place.h"

#include "place_block.h"
#include "place_file.h"

/* The name is taken away at once, so that whatever happens nothing stays behind. */
static int make_file(const char *folder, struct place_file *ret_file)
{
	char name[64];
	int dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (dir_fd < 0)
		return -errno;
	snprintf(name, sizeof(name), ".stickvm-probe.%ld", (long)getpid());
	r = place_file_open(dir_fd, name, O_RDWR | O_CREAT | O_EXCL, ret_file);
	if (r == 0 && unlinkat(dir_fd, name, 0) < 0) {
		r = -errno;
		place_file_close(ret_file);
	}
	close(dir_fd);
	return r;
}

/* Where the file lies; none where that is unknown. */
static int find_extents(const struct place_file *file, const struct place_fs *fs, uint64_t bytes,
			struct sv_scratch *scratch)
{
	struct place_extent *extents = NULL;
	struct place_block block;
	struct stat st;
	size_t count;
	int r;

	if (!fs->extents_true || fstat(file->fd, &st) < 0)
		return 0;
	place_block_find(st.st_dev, &block);
	if (!block.start_known)
		return 0;
	r = place_file_extents(file, bytes, block.start_bytes, &extents, &count);
	if (r < 0)
		return r == -EOPNOTSUPP ? 0 : r;
	scratch->extents = calloc(count + 1, sizeof(*scratch->extents));
	for (size_t i = 0; scratch->extents != NULL && i < count; i++)
		scratch->extents[scratch->extent_count++] = (struct sv_place_run){
			.file_bytes = extents[i].file_bytes,
			.medium_bytes = extents[i].medium_bytes,
			.len_bytes = extents[i].len_bytes,
		};
	free(extents);
	return scratch->extents == NULL ? -ENOMEM : 0;
}

int sv_scratch_open(const char *folder, uint64_t bytes, uint64_t zeros_bytes,
		    struct sv_scratch *ret_scratch)
{
	struct sv_scratch scratch = {.fd = -1};
	struct place_file file;
	struct place_fs fs;
	int r = make_file(folder, &file);

	if (r < 0)
		return r;
	place_file_fs(file.fd, &fs);
	if (!fs.fallocate && bytes > zeros_bytes)
		bytes = zeros_bytes;
	r = place_file_extend(&file, &fs, bytes);
	if (r == 0)
		r = find_extents(&file, &fs, bytes, &scratch);
	if (r < 0) {
		place_file_close(&file);
		return r;
	}
	scratch.fd = file.fd;
	scratch.direct = file.direct;
	scratch.sector_bytes = file.sector_bytes;
	scratch.size_bytes = bytes;
	*ret_scratch = scratch;
	return 0;
}

void sv_scratch_close(struct sv_scratch *scratch)
{
	free(scratch->extents);
	if (scratch->fd >= 0)
		close(scratch->fd);
	*scratch = (struct sv_scratch){.fd = -1};
}
