/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_cipher.h: the cipher of one file of the host cache; FORMAT.md has the file as tables. */
#ifndef STORAGE_CACHE_CIPHER_H
#define STORAGE_CACHE_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sodium.h>

#define SV_CIPHER_KEY_BYTES 32u
#define SV_CIPHER_TAG_BYTES 16u
#define SV_CIPHER_HEAD_BYTES 64u

/*
 * Each file has a key of its own, made from the store's cache key and the file's head, which holds
 * 32 random bytes. Under it each offset of the file is sealed at most once, and the offset is the
 * nonce. So no nonce is used twice under a key, whatever is deleted, copied, put back or shared.
 */
struct sv_cipher {
	crypto_aead_aes256gcm_state aes; /* the key, expanded; where the processor has AES */
	uint8_t key[SV_CIPHER_KEY_BYTES];
	uint8_t suite; /* enum sv_suite */
};

enum sv_suite { SV_SUITE_AES256_GCM = 1, SV_SUITE_CHACHA20_POLY1305 = 2 };

/* What is sealed at an offset: a unit, or the table at a file's end. */
enum sv_sealed { SV_SEALED_UNIT = 0, SV_SEALED_TABLE = 1 };

struct sv_cipher_head {
	uint8_t suite;
	uint8_t queue;	 /* enum sv_s3_queue */
	uint64_t number; /* files in the order in which they were begun */
};

/* A new file's head with fresh random bytes, and its cipher. -EIO: there is no libsodium. */
int sv_cipher_new(const uint8_t *store_key, const uint8_t *store_id, uint8_t queue, uint64_t number,
		  uint8_t *ret_head, struct sv_cipher *ret_cipher);
/* The cipher of a file with this head. -EMEDIUMTYPE, -EPROTONOSUPPORT (this host cannot). */
int sv_cipher_of(const uint8_t *store_key, const uint8_t *store_id, const uint8_t *head,
		 struct sv_cipher_head *ret_head, struct sv_cipher *ret_cipher);
/* The name of a store's folder: says nothing about the store without the key. 16 digits. */
int sv_cipher_name(const uint8_t *store_key, const uint8_t *store_id, char ret_name[17]);

/* `dst` gets len_bytes and the tag; it may be where `src` is. */
void sv_cipher_seal(const struct sv_cipher *c, enum sv_sealed what, uint64_t off_bytes,
		    const uint8_t *src, size_t len_bytes, uint8_t *dst);
/* In place: len_bytes of text were sealed, the tag is behind them. */
bool sv_cipher_open(const struct sv_cipher *c, enum sv_sealed what, uint64_t off_bytes,
		    uint8_t *buf, size_t len_bytes);
void sv_cipher_wipe(struct sv_cipher *c);

#endif
