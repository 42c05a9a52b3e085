/* SPDX-License-Identifier: GPL-2.0-or-later */
/* park_home.c: folders, key and marker of parked VMs. */
#include "park_home.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "file.h"

static char *data_folder(void)
{
	const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");

	if (xdg && xdg[0] == '/')
		return strdup(xdg);
	if (!home || home[0] != '/') {
		const struct passwd *user = getpwuid(geteuid());

		home = user ? user->pw_dir : NULL;
	}
	return home ? file_path("%s/.local/share", home) : NULL;
}

int park_home_name(const char *uuid, struct park_home *ret_home, struct err *err)
{
	char *data = data_folder();
	struct park_home home = {0};

	if (data) {
		home.dir = file_path("%s/stickvm/parked", data);
		home.path = file_path("%s/stickvm/parked/%s.park", data, uuid);
		home.agreed = file_path("%s/stickvm/parked/%s.agreed", data, uuid);
	}
	free(data);
	if (!home.dir || !home.path || !home.agreed) {
		park_home_free(&home);
		return err_set(err, EXIT_FAILED,
			       "there is no folder for what this host keeps; set XDG_DATA_HOME to "
			       "one of yours");
	}
	*ret_home = home;
	return 0;
}

void park_home_free(struct park_home *home)
{
	free(home->dir);
	free(home->path);
	free(home->agreed);
	*home = (struct park_home){0};
}

/* Makes a folder and those above it; each entry is durable. */
static int make_folders(char *path)
{
	int rc = 0;

	for (char *at = path + 1; rc == 0; at++) {
		const char kept = *at;
		char *slash;

		if (kept != '/' && kept != '\0')
			continue;
		*at = '\0';
		if (mkdir(path, 0700) == 0) {
			slash = strrchr(path, '/');
			*slash = '\0';
			rc = file_sync_folder(path[0] ? path : "/");
			*slash = '/';
		} else if (errno != EEXIST) {
			rc = -errno;
		}
		*at = kept;
		if (kept == '\0')
			break;
	}
	return rc;
}

int park_home_make(const struct park_home *home, struct err *err)
{
	char *path = strdup(home->dir);
	int rc = path ? make_folders(path) : -ENOMEM;
	struct stat st;

	free(path);
	if (rc == 0 && stat(home->dir, &st) < 0)
		rc = -errno;
	if (rc < 0)
		return err_set(err, EXIT_FAILED, "%s: cannot be made: %s", home->dir,
			       strerror(-rc));
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return err_set(err, EXIT_FAILED,
			       "%s: is not a private folder of this user; mend its owner and mode",
			       home->dir);
	return 0;
}

bool park_home_holds(const char *uuid)
{
	struct park_home home;
	struct err err;
	bool holds;

	if (park_home_name(uuid, &home, &err) < 0)
		return false;
	holds = access(home.path, F_OK) == 0;
	park_home_free(&home);
	return holds;
}

bool park_home_agreed(const struct park_home *home)
{
	return access(home->agreed, F_OK) == 0;
}

void park_home_agree(const struct park_home *home)
{
	int fd = open(home->agreed, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
}

static int make_key(const char *path)
{
	uint8_t key[PARK_KEY_BYTES];
	mode_t before;
	int rc;

	if (sodium_init() < 0)
		return -ENOMEM;
	randombytes_buf(key, sizeof(key));
	before = umask(077); /* nobody else has a thread yet */
	rc = file_replace(path, (const char *)key, sizeof(key));
	umask(before);
	sodium_memzero(key, sizeof(key));
	return rc;
}

int park_key_load(const struct stick *stick, const struct vm *vm, bool make,
		  uint8_t ret_key[PARK_KEY_BYTES], struct err *err)
{
	char *path = stick_vm_path(stick, vm->name, "park.key"), *text = NULL;
	size_t bytes = 0;
	int rc = path ? file_read_own(path, PARK_KEY_BYTES, &text, &bytes) : -ENOMEM;

	if (rc == -ENOENT && make) {
		rc = make_key(path);
		if (rc == 0)
			rc = file_read_own(path, PARK_KEY_BYTES, &text, &bytes);
	}
	if (rc == 0 && bytes != PARK_KEY_BYTES)
		rc = -EBADMSG;
	if (rc == 0)
		memcpy(ret_key, text, PARK_KEY_BYTES);
	else
		err_set(err, file_status(rc), "%s: %s", path ? path : vm->name,
			rc == -EBADMSG ? "not a key; a state that is parked under it is lost"
				       : strerror(-rc));
	if (text)
		sodium_memzero(text, bytes);
	free(text);
	free(path);
	return rc < 0 ? -1 : 0;
}

int park_marker_set(const struct stick *stick, const struct vm *vm, const char *id, struct err *err)
{
	char *path = stick_vm_path(stick, vm->name, "parked");
	int rc = path ? file_replace(path, id, strlen(id)) : -ENOMEM;

	if (rc < 0)
		err_set(err, file_status(rc), "%s: cannot be written: %s; %s",
			path ? path : vm->name, strerror(-rc), file_advice(rc));
	free(path);
	return rc < 0 ? -1 : 0;
}

bool park_marker_is(const struct stick *stick, const struct vm *vm, const char *id)
{
	char *path = stick_vm_path(stick, vm->name, "parked"), *text = NULL;
	size_t bytes = 0;
	bool is = path && file_read_own(path, PARK_ID_CHARS, &text, &bytes) == 0 &&
		  strcmp(text, id) == 0;

	free(text);
	free(path);
	return is;
}

int park_marker_clear(const struct stick *stick, const struct vm *vm)
{
	char *path = stick_vm_path(stick, vm->name, "parked");
	char *folder = stick_vm_path(stick, vm->name, NULL);
	int rc = path && folder ? 0 : -ENOMEM;

	if (rc == 0 && unlink(path) < 0)
		rc = errno == ENOENT ? 0 : -errno;
	else if (rc == 0)
		rc = file_sync_folder(folder);
	free(path);
	free(folder);
	return rc;
}
