/* SPDX-License-Identifier: GPL-2.0-or-later */
/* park_file.c: a frozen VM's file: header, then encrypted pieces, the last one marked. */
/*
 *	0   16  "stickvm-parked-1"
 *	16  24  secretstream's header (nonce)
 *	40  ... pieces: length of the text (4, little-endian), then the text and 17 bytes more
 *
 * The length of a piece is not authenticated by itself, but a wrong one makes the piece fail; the
 * stream authenticates order and end. A piece holds at most PIECE_BYTES, so memory is bounded
 * whatever the file says.
 */
#include "park_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "file.h"

#define MAGIC "stickvm-parked-1"

enum {
	PIECE_BYTES = 64 << 10,
	MORE_BYTES = crypto_secretstream_xchacha20poly1305_ABYTES,
	NONCE_BYTES = crypto_secretstream_xchacha20poly1305_HEADERBYTES,
	MAGIC_BYTES = sizeof(MAGIC) - 1,
};

_Static_assert(PARK_KEY_BYTES == crypto_secretstream_xchacha20poly1305_KEYBYTES, "the key");

struct park_writer {
	crypto_secretstream_xchacha20poly1305_state state;
	FILE *out;
	char *path, *path_new;
	size_t used;
	uint8_t text[PIECE_BYTES];
	uint8_t cipher[PIECE_BYTES + MORE_BYTES];
};

struct park_reader {
	crypto_secretstream_xchacha20poly1305_state state;
	FILE *in;
	bool ended;
	size_t used, at;
	uint8_t text[PIECE_BYTES];
	uint8_t cipher[PIECE_BYTES + MORE_BYTES];
};

static void writer_free(struct park_writer *w)
{
	if (w->out)
		fclose(w->out);
	free(w->path);
	free(w->path_new);
	sodium_memzero(w, sizeof(*w));
	free(w);
}

void park_writer_abandon(struct park_writer *w)
{
	if (!w)
		return;
	if (w->path_new)
		unlink(w->path_new);
	writer_free(w);
}

static int begin_file(struct park_writer *w, const uint8_t key[PARK_KEY_BYTES])
{
	uint8_t nonce[NONCE_BYTES];
	int fd;

	if (!w->path || !w->path_new)
		return -ENOMEM;
	if (access(w->path, F_OK) == 0)
		return -EEXIST;
	unlink(w->path_new); /* what a killed one left */
	fd = open(w->path_new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	w->out = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!w->out)
		return -errno;
	crypto_secretstream_xchacha20poly1305_init_push(&w->state, nonce, key);
	if (fwrite(MAGIC, MAGIC_BYTES, 1, w->out) != 1 ||
	    fwrite(nonce, NONCE_BYTES, 1, w->out) != 1)
		return -EIO;
	return 0;
}

int park_writer_begin(const char *path, const uint8_t key[PARK_KEY_BYTES],
		      struct park_writer **ret_writer)
{
	struct park_writer *w = calloc(1, sizeof(*w));
	int rc;

	if (!w || sodium_init() < 0) {
		free(w);
		return -ENOMEM;
	}
	w->path = strdup(path);
	w->path_new = file_path("%s.new", path);
	rc = begin_file(w, key);
	if (rc < 0) {
		writer_free(w);
		return rc;
	}
	*ret_writer = w;
	return 0;
}

static int put_piece(struct park_writer *w, uint8_t tag)
{
	const uint8_t len[4] = {(uint8_t)w->used, (uint8_t)(w->used >> 8), (uint8_t)(w->used >> 16),
				0};

	crypto_secretstream_xchacha20poly1305_push(&w->state, w->cipher, NULL, w->text, w->used,
						   len, sizeof(len), tag);
	errno = EIO;
	if (fwrite(len, sizeof(len), 1, w->out) != 1 ||
	    fwrite(w->cipher, w->used + MORE_BYTES, 1, w->out) != 1)
		return -errno;
	w->used = 0;
	return 0;
}

int park_write(struct park_writer *w, const void *bytes, size_t count)
{
	const uint8_t *from = bytes;

	while (count > 0) {
		size_t now = PIECE_BYTES - w->used;
		int rc;

		now = count < now ? count : now;
		memcpy(w->text + w->used, from, now);
		w->used += now;
		from += now;
		count -= now;
		if (w->used < PIECE_BYTES)
			break;
		rc = put_piece(w, 0);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The folder of `path`, fsynced. */
static int sync_parent(const char *path)
{
	char *folder = strdup(path);
	int rc = folder ? 0 : -ENOMEM;

	if (folder) {
		*strrchr(folder, '/') = '\0';
		rc = file_sync_folder(folder);
	}
	free(folder);
	return rc;
}

int park_writer_end(struct park_writer *w)
{
	int rc = put_piece(w, crypto_secretstream_xchacha20poly1305_TAG_FINAL);

	errno = EIO;
	if (rc == 0 &&
	    (fflush(w->out) != 0 || fsync(fileno(w->out)) < 0 || rename(w->path_new, w->path) < 0))
		rc = -errno;
	if (rc == 0)
		rc = sync_parent(w->path);
	if (rc < 0)
		park_writer_abandon(w);
	else
		writer_free(w);
	return rc;
}

/* The next piece; -EBADMSG where it does not verify. */
static int get_piece(struct park_reader *r)
{
	uint8_t len[4], tag;
	size_t bytes;

	if (fread(len, sizeof(len), 1, r->in) != 1)
		return -EBADMSG;
	bytes = (size_t)len[0] | (size_t)len[1] << 8 | (size_t)len[2] << 16;
	if (len[3] != 0 || bytes > PIECE_BYTES ||
	    fread(r->cipher, bytes + MORE_BYTES, 1, r->in) != 1 ||
	    crypto_secretstream_xchacha20poly1305_pull(&r->state, r->text, NULL, &tag, r->cipher,
						       bytes + MORE_BYTES, len, sizeof(len)) != 0)
		return -EBADMSG;
	r->used = bytes;
	r->at = 0;
	r->ended = tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL;
	return 0;
}

static int read_head(struct park_reader *r, const char *path, const uint8_t key[PARK_KEY_BYTES])
{
	uint8_t head[MAGIC_BYTES + NONCE_BYTES];

	r->in = fopen(path, "re");
	if (!r->in)
		return -errno;
	if (fread(head, sizeof(head), 1, r->in) != 1 || memcmp(head, MAGIC, MAGIC_BYTES) != 0)
		return -EMEDIUMTYPE;
	if (crypto_secretstream_xchacha20poly1305_init_pull(&r->state, head + MAGIC_BYTES, key) !=
	    0)
		return -EACCES;
	return get_piece(r) < 0 ? -EACCES : 0;
}

int park_reader_begin(const char *path, const uint8_t key[PARK_KEY_BYTES],
		      struct park_reader **ret_reader)
{
	struct park_reader *r = calloc(1, sizeof(*r));
	int rc = !r || sodium_init() < 0 ? -ENOMEM : read_head(r, path, key);

	if (rc < 0) {
		park_reader_end(r);
		return rc;
	}
	*ret_reader = r;
	return 0;
}

int park_read(struct park_reader *r, void *buf, size_t count, size_t *ret_count)
{
	size_t now;

	while (r->at == r->used) {
		int rc = r->ended ? 0 : get_piece(r);

		if (rc < 0)
			return rc;
		if (r->at == r->used && r->ended) {
			*ret_count = 0;
			return 0;
		}
	}
	now = r->used - r->at;
	now = count < now ? count : now;
	memcpy(buf, r->text + r->at, now);
	r->at += now;
	*ret_count = now;
	return 0;
}

int park_read_all(struct park_reader *r, void *buf, size_t count)
{
	uint8_t *to = buf;

	while (count > 0) {
		size_t got = 0;
		int rc = park_read(r, to, count, &got);

		if (rc < 0 || got == 0)
			return rc < 0 ? rc : -EBADMSG;
		to += got;
		count -= got;
	}
	return 0;
}

void park_reader_end(struct park_reader *r)
{
	if (!r)
		return;
	if (r->in)
		fclose(r->in);
	sodium_memzero(r, sizeof(*r));
	free(r);
}
