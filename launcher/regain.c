/* SPDX-License-Identifier: GPL-2.0-or-later */
/* regain.c: a thread that finds the stick again and gives it back to its store. */
/*
 * Everything that touches a stick that came back may take long or hang (a dead mount, a log that
 * is verified over the lie window), so it happens here, and the session's own thread stays free
 * to hear its user. Rules:
 *  G1  the store is touched only between `busy` and not `busy`, and never once `cancel` is set
 *      while not busy: so regain_free knows when the store is its caller's again;
 *  G2  a thread that hangs outside of that is left behind; it holds only what is its own;
 *  G3  a candidate that fails is tried again at the next look: a mount is made before what is
 *      below it can be read;
 *  G4  a stick that was refused is told once and then left alone, since others may want to use it;
 *      but the right one may still come, so a disk or a mount that comes is a reason to look.
 */
#include "regain.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "stickvm/place.h"

enum { LOOK_EVERY_MS = 1000, HINT_LOOKS = 3 };

struct regain {
	struct sv_store *store;
	struct watch_home home;
	const char *at; /* the stick's folder at this look; NULL: not seen */
	char *vm_name;
	char *place; /* NULL: in the home */
	uint64_t place_bytes;
	bool read_only;
	struct watch_host host;
	int news_fd;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool look, cancel, busy, fresh;
	bool quiet;	 /* the thread's: it looks only when it is told (G4) */
	unsigned owners; /* of this struct: the session, and the thread */
	struct regain_news news;
	char seen[sizeof(((struct regain_news *)0)->hint)]; /* the thread's: a hint to come */
	unsigned seen_looks;
};

static void lose_owner(struct regain *r)
{
	unsigned left;

	pthread_mutex_lock(&r->lock);
	left = --r->owners;
	pthread_mutex_unlock(&r->lock);
	if (left > 0)
		return;
	if (r->news_fd >= 0)
		close(r->news_fd);
	watch_home_free(&r->home);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r->vm_name);
	free(r->place);
	free(r);
}

static void tell(struct regain *r)
{
	const uint64_t one = 1;

	r->fresh = true;
	(void)!write(r->news_fd, &one, sizeof(one));
}

/* Said once, until there is another thing to say; and not at once, since the old device may still
 * be on its way out, or a mount on its way in. */
static void hint(struct regain *r, const char *path, const char *what)
{
	char text[sizeof(r->seen)];

	r->quiet = false;
	snprintf(text, sizeof(text), "%.400s: %s", path, what);
	if (strcmp(text, r->seen) != 0) {
		memcpy(r->seen, text, sizeof(text));
		r->seen_looks = 0;
	}
	if (++r->seen_looks != HINT_LOOKS)
		return;
	pthread_mutex_lock(&r->lock);
	memcpy(r->news.hint, text, sizeof(text));
	r->news.end = REGAIN_LOOKING;
	tell(r);
	pthread_mutex_unlock(&r->lock);
}

/* Something that the session must know; the same of the same place is told once. */
static void end(struct regain *r, enum regain_end how, const char *place,
		const struct sv_reattach *did)
{
	pthread_mutex_lock(&r->lock);
	if (r->news.end != how || strcmp(r->news.place, place) != 0)
		tell(r);
	r->news.end = how;
	r->news.did = *did;
	r->news.hint[0] = '\0';
	snprintf(r->news.place, sizeof(r->news.place), "%s", place);
	snprintf(r->news.dir, sizeof(r->news.dir), "%s", r->at ? r->at : "");
	pthread_mutex_unlock(&r->lock);
	r->quiet = how != REGAIN_BACK;
}

/* Whether the store may be touched now (G1). */
static bool take_store(struct regain *r)
{
	bool may;

	pthread_mutex_lock(&r->lock);
	may = !r->cancel;
	r->busy = may;
	pthread_mutex_unlock(&r->lock);
	return may;
}

static void leave_store(struct regain *r)
{
	pthread_mutex_lock(&r->lock);
	r->busy = false;
	pthread_cond_broadcast(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

/* What an errno of the reattach means; true: the search is over. */
static bool judge(struct regain *r, const char *place, const struct sv_reattach *did, int rc)
{
	switch (rc) {
	case 0:
		end(r, REGAIN_BACK, place, did);
		return true;
	case -ESTALE:
		end(r, REGAIN_STALE, place, did);
		return false; /* G4 */
	case -EUCLEAN:
	case -EBADMSG:
		end(r, REGAIN_DAMAGED, place, did);
		return false;
	case -EMEDIUMTYPE: /* another disk */
		return false;
	default: /* gone again, or not yet readable */
		hint(r, place, strerror(-rc));
		return false;
	}
}

static bool try_place(void *ctx, const char *place)
{
	struct regain *r = ctx;
	struct sv_reattach did = {0};
	struct sv_dev *dev;
	int rc = sv_place_open(place, r->read_only, &dev);

	if (rc == -EBUSY)
		hint(r, place, "in use by another process");
	else if (rc == -EROFS || rc == -EACCES || rc == -EPERM)
		hint(r, place, "it cannot be written; mount it for writing");
	if (rc < 0)
		return false;
	if (!take_store(r)) {
		sv_dev_close(dev);
		return true;
	}
	rc = sv_store_reattach(r->store, dev, &did);
	leave_store(r);
	if (rc < 0)
		sv_dev_close(dev);
	return judge(r, place, &did, rc);
}

static bool try_home(void *ctx, const char *dir)
{
	struct regain *r = ctx;
	char *place = file_path("%s/stickvm/vms/%s/disk", dir, r->vm_name);
	bool done = !r->store;

	r->at = dir;
	if (!r->store)
		end(r, REGAIN_BACK, dir, &(struct sv_reattach){0});
	else
		done = place && try_place(r, place);
	r->at = NULL;
	free(place);
	return done;
}

/* A raw place needs no file system, but where the stick's folder is mounted that is noted. */
static bool note_home(void *ctx, const char *dir)
{
	char **at = ctx;

	*at = strdup(dir);
	return true;
}

static bool search(struct regain *r)
{
	char *at = NULL;
	bool done;

	if (!r->place || !r->store)
		return watch_each_home(&r->home, &r->host, try_home, r);
	watch_each_home(&r->home, &r->host, note_home, &at);
	r->at = at;
	done = watch_each_node(r->place, r->place_bytes, &r->host, try_place, r);
	r->at = NULL;
	free(at);
	return done;
}

/* Sleeps until it is time to look; false: to end. */
static bool next_look(struct regain *r)
{
	struct timespec until;
	bool go_on;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += LOOK_EVERY_MS / 1000;
	pthread_mutex_lock(&r->lock);
	while (r->quiet && !r->look && !r->cancel)
		pthread_cond_wait(&r->wake, &r->lock);
	while (!r->look && !r->cancel &&
	       pthread_cond_timedwait(&r->wake, &r->lock, &until) != ETIMEDOUT)
		;
	r->look = false;
	go_on = !r->cancel;
	pthread_mutex_unlock(&r->lock);
	return go_on;
}

static void *work(void *arg)
{
	struct regain *r = arg;

	do {
		if (search(r))
			break;
	} while (next_look(r));
	lose_owner(r);
	return NULL;
}

static bool take_request(struct regain *r, const struct regain_request *request)
{
	pthread_condattr_t monotonic;

	r->store = request->store;
	r->place_bytes = request->place_bytes;
	r->read_only = request->read_only;
	if (request->host)
		r->host = *request->host;
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&r->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	r->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->vm_name = strdup(request->vm_name);
	r->place = request->place ? strdup(request->place) : NULL;
	r->home = *request->home;
	r->home.dir = strdup(r->home.dir);
	r->home.inside = strdup(r->home.inside);
	return r->news_fd >= 0 && r->vm_name && (!request->place || r->place) && r->home.dir &&
	       r->home.inside;
}

struct regain *regain_start(const struct regain_request *request)
{
	struct regain *r = calloc(1, sizeof(*r));
	pthread_t thread;

	if (!r)
		return NULL;
	r->owners = 1;
	if (!take_request(r, request)) {
		lose_owner(r);
		return NULL;
	}
	r->owners = 2;
	if (pthread_create(&thread, NULL, work, r) != 0) {
		r->owners = 1;
		lose_owner(r);
		return NULL;
	}
	pthread_detach(thread); /* G2: it is not waited for, but for the store */
	return r;
}

int regain_fd(const struct regain *r)
{
	return r->news_fd;
}

void regain_look(struct regain *r)
{
	pthread_mutex_lock(&r->lock);
	r->look = true;
	pthread_cond_broadcast(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

bool regain_take(struct regain *r, struct regain_news *ret_news)
{
	uint64_t count;
	bool fresh;

	pthread_mutex_lock(&r->lock);
	(void)!read(r->news_fd, &count, sizeof(count));
	fresh = r->fresh && !r->busy;
	if (fresh) {
		r->fresh = false;
		*ret_news = r->news;
	}
	pthread_mutex_unlock(&r->lock);
	return fresh;
}

void regain_stop(struct regain *r)
{
	pthread_mutex_lock(&r->lock);
	r->cancel = true;
	pthread_cond_broadcast(&r->wake);
	while (r->busy) /* G1 */
		pthread_cond_wait(&r->wake, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

void regain_free(struct regain *r)
{
	if (!r)
		return;
	regain_stop(r);
	lose_owner(r);
}
