/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_cipher.c: AES-256-GCM where the processor has it, else ChaCha20-Poly1305. */
#include "cache_cipher.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "format.h"

#define MAGIC UINT64_C(0x3145484341437673) /* "svCACHE1" */
#define SALT_BYTES 32u

_Static_assert(crypto_aead_aes256gcm_NPUBBYTES == 12, "nonce");
_Static_assert(crypto_aead_chacha20poly1305_ietf_NPUBBYTES == 12, "nonce");
_Static_assert(crypto_aead_aes256gcm_ABYTES == SV_CIPHER_TAG_BYTES, "tag");
_Static_assert(crypto_aead_chacha20poly1305_ietf_ABYTES == SV_CIPHER_TAG_BYTES, "tag");

/* The whole head goes into the key: whoever changes a bit of it gets another key. */
static void derive(const uint8_t *store_key, const uint8_t *store_id, const char *purpose,
		   const uint8_t *head, uint8_t *ret_key, size_t key_bytes)
{
	crypto_generichash_state h;

	crypto_generichash_init(&h, store_key, SV_CIPHER_KEY_BYTES, key_bytes);
	crypto_generichash_update(&h, (const uint8_t *)purpose, strlen(purpose) + 1);
	crypto_generichash_update(&h, store_id, SV_STORE_ID_BYTES);
	if (head)
		crypto_generichash_update(&h, head, SV_CIPHER_HEAD_BYTES);
	crypto_generichash_final(&h, ret_key, key_bytes);
	sodium_memzero(&h, sizeof(h));
}

static void prepare(const uint8_t *store_key, const uint8_t *store_id, const uint8_t *head,
		    uint8_t suite, struct sv_cipher *c)
{
	c->suite = suite;
	derive(store_key, store_id, "stickvm cache file", head, c->key, sizeof(c->key));
	if (suite == SV_SUITE_AES256_GCM)
		crypto_aead_aes256gcm_beforenm(&c->aes, c->key);
}

int sv_cipher_new(const uint8_t *store_key, const uint8_t *store_id, uint8_t queue, uint64_t number,
		  uint8_t *ret_head, struct sv_cipher *ret_cipher)
{
	struct sv_cur c = sv_cur_over(ret_head, SV_CIPHER_HEAD_BYTES);
	uint8_t salt[SALT_BYTES], suite;

	if (sodium_init() < 0)
		return -EIO;
	suite = crypto_aead_aes256gcm_is_available() ? SV_SUITE_AES256_GCM
						     : SV_SUITE_CHACHA20_POLY1305;
	randombytes_buf(salt, sizeof(salt));
	sv_put64(&c, MAGIC);
	sv_put8(&c, suite);
	sv_put8(&c, queue);
	sv_put_le(&c, 0, 6);
	sv_put64(&c, number);
	sv_put64(&c, 0);
	sv_put_bytes(&c, salt, sizeof(salt));
	prepare(store_key, store_id, ret_head, suite, ret_cipher);
	return 0;
}

int sv_cipher_of(const uint8_t *store_key, const uint8_t *store_id, const uint8_t *head,
		 struct sv_cipher_head *ret_head, struct sv_cipher *ret_cipher)
{
	struct sv_cur c = sv_cur_over((uint8_t *)head, SV_CIPHER_HEAD_BYTES);

	if (sv_get64(&c) != MAGIC)
		return -EMEDIUMTYPE;
	ret_head->suite = sv_get8(&c);
	ret_head->queue = sv_get8(&c);
	sv_get_le(&c, 6);
	ret_head->number = sv_get64(&c);
	if (sodium_init() < 0)
		return -EIO;
	if (ret_head->suite == SV_SUITE_AES256_GCM ? !crypto_aead_aes256gcm_is_available()
						   : ret_head->suite != SV_SUITE_CHACHA20_POLY1305)
		return -EPROTONOSUPPORT;
	prepare(store_key, store_id, head, ret_head->suite, ret_cipher);
	return 0;
}

int sv_cipher_name(const uint8_t *store_key, const uint8_t *store_id, char ret_name[17])
{
	uint8_t hash[crypto_generichash_BYTES_MIN];

	if (sodium_init() < 0)
		return -EIO;
	derive(store_key, store_id, "stickvm cache folder", NULL, hash, sizeof(hash));
	sodium_bin2hex(ret_name, 17, hash, 8);
	return 0;
}

static void nonce_of(enum sv_sealed what, uint64_t off_bytes, uint8_t nonce[12])
{
	struct sv_cur c = sv_cur_over(nonce, 12);

	sv_put64(&c, off_bytes);
	sv_put32(&c, what);
}

void sv_cipher_seal(const struct sv_cipher *c, enum sv_sealed what, uint64_t off_bytes,
		    const uint8_t *src, size_t len_bytes, uint8_t *dst)
{
	uint8_t nonce[12];

	nonce_of(what, off_bytes, nonce);
	if (c->suite == SV_SUITE_AES256_GCM)
		crypto_aead_aes256gcm_encrypt_afternm(dst, NULL, src, len_bytes, NULL, 0, NULL,
						      nonce, &c->aes);
	else
		crypto_aead_chacha20poly1305_ietf_encrypt(dst, NULL, src, len_bytes, NULL, 0, NULL,
							  nonce, c->key);
}

bool sv_cipher_open(const struct sv_cipher *c, enum sv_sealed what, uint64_t off_bytes,
		    uint8_t *buf, size_t len_bytes)
{
	const size_t sealed = len_bytes + SV_CIPHER_TAG_BYTES;
	uint8_t nonce[12];

	nonce_of(what, off_bytes, nonce);
	if (c->suite == SV_SUITE_AES256_GCM)
		return crypto_aead_aes256gcm_decrypt_afternm(buf, NULL, NULL, buf, sealed, NULL, 0,
							     nonce, &c->aes) == 0;
	return crypto_aead_chacha20poly1305_ietf_decrypt(buf, NULL, NULL, buf, sealed, NULL, 0,
							 nonce, c->key) == 0;
}

void sv_cipher_wipe(struct sv_cipher *c)
{
	sodium_memzero(c, sizeof(*c));
}
