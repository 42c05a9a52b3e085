/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_home.c: where the stick's folder is, for what is not the disk: ledger, variables, CD. */
/*
 * The disk of most VMs lies in the stick's folder, so both come back together. A disk on a raw
 * place may be attached again before anybody has mounted the folder: then the VM goes on, and the
 * folder is looked for by a second thread of regain.c.
 *
 *  H1  While `away` nobody uses stick->dir: it is a path where the stick was.
 *  H2  At the end of a run the folder is asked for once more and waited for a little. Where it does
 *      not come, what was meant for it is put off, with a line; the status stays that of the run.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "run_session.h"

enum { END_WAIT_MS = 5000 };

void home_lost(struct session *s)
{
	regain_free(s->pull.seeker);
	s->pull.seeker = NULL;
	s->pull.away = true;
}

void home_seek(struct session *s)
{
	const struct regain_request request = {
		.home = &s->pull.home,
		.vm_name = s->req->vm->name,
	};

	if (!s->pull.seeker && s->pull.home.dir)
		s->pull.seeker = regain_start(&request);
}

void home_is(struct session *s, const char *dir)
{
	const struct run_request *req = s->req;
	char *copy = strdup(dir);
	struct watch_home home;

	home_lost(s);
	if (!copy)
		return;
	free(req->stick->dir);
	req->stick->dir = copy;
	if (watch_home_of(copy, req->stick->uuid, NULL, &home) == 0) {
		watch_home_free(&s->pull.home);
		s->pull.home = home;
	}
	s->pull.away = false;
	vars_follow(s);
	cd_follow(s);
}

void home_take(struct session *s)
{
	struct regain_news *news = malloc(sizeof(*news));

	if (!news)
		abort();
	if (s->pull.seeker && regain_take(s->pull.seeker, news) && news->end == REGAIN_BACK)
		home_is(s, news->dir);
	free(news);
}

bool home_settle(struct session *s)
{
	struct pollfd news;

	if (pull_frozen(s))
		return false;
	if (!s->pull.home.dir || (!s->req->vm->place && !s->pull.away))
		return true;
	s->pull.away = true; /* a raw place says nothing of where the folder is */
	home_seek(s);
	if (!s->pull.seeker)
		return false;
	regain_look(s->pull.seeker);
	news = (struct pollfd){.fd = regain_fd(s->pull.seeker), .events = POLLIN};
	if (poll(&news, 1, END_WAIT_MS) > 0)
		home_take(s);
	return !s->pull.away;
}
