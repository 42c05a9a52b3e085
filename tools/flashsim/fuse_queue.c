/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_queue.c: a list, a thread, and the replies. */
#include "fuse_queue.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct job {
	struct job *next;
	fuse_req_t req;
	struct fsim_request request;
	void *taken;
};

struct fsim_queue {
	struct fsim_stick *stick;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t added;
	struct job *first, **last;
	bool ending;
};

/* A fake's bytes do not lie together: they are copied out. */
static int do_read(struct fsim_stick *stick, struct job *job, const void **ret_bytes)
{
	struct fsim_request *r = &job->request;
	const void *bytes = fsim_stick_peek(stick, r->len_bytes, r->off_bytes);
	if (bytes == NULL)
		bytes = r->to = job->taken = malloc(r->len_bytes);
	if (bytes == NULL)
		return -ENOMEM;
	*ret_bytes = bytes;
	return fsim_stick_do(stick, r);
}

static void do_job(struct fsim_stick *stick, struct job *job)
{
	const struct fsim_request *r = &job->request;
	const void *bytes = NULL;
	int err = r->op == FSIM_READ ? do_read(stick, job, &bytes) : fsim_stick_do(stick, r);
	if (err < 0 || r->op == FSIM_FLUSH)
		fuse_reply_err(job->req, -err);
	else if (r->op == FSIM_WRITE)
		fuse_reply_write(job->req, r->len_bytes);
	else
		fuse_reply_buf(job->req, bytes, r->len_bytes);
	fsim_stick_answered(stick);
	free(job->taken);
	free(job);
}

static struct job *next_job(struct fsim_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	while (queue->first == NULL && !queue->ending)
		pthread_cond_wait(&queue->added, &queue->lock);
	struct job *job = queue->first;
	if (job != NULL) {
		queue->first = job->next;
		if (queue->first == NULL)
			queue->last = &queue->first;
	}
	pthread_mutex_unlock(&queue->lock);
	return job;
}

static void *work(void *arg)
{
	struct fsim_queue *queue = arg;
	struct job *job;
	while ((job = next_job(queue)) != NULL)
		do_job(queue->stick, job);
	return NULL;
}

/* Signals are the reading thread's: they must interrupt its read. */
static int start_thread(struct fsim_queue *queue)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = -pthread_create(&queue->thread, NULL, work, queue);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

int fsim_queue_start(struct fsim_stick *stick, struct fsim_queue **ret_queue)
{
	struct fsim_queue *queue = calloc(1, sizeof(*queue));
	if (queue == NULL)
		return -ENOMEM;
	queue->stick = stick;
	queue->last = &queue->first;
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->added, NULL);
	int r = start_thread(queue);
	if (r < 0) {
		free(queue);
		return r;
	}
	*ret_queue = queue;
	return 0;
}

void fsim_queue_stop(struct fsim_queue *queue)
{
	if (queue == NULL)
		return;
	pthread_mutex_lock(&queue->lock);
	queue->ending = true;
	pthread_cond_signal(&queue->added);
	pthread_mutex_unlock(&queue->lock);
	pthread_join(queue->thread, NULL);
	pthread_cond_destroy(&queue->added);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
}

int fsim_queue_add(struct fsim_queue *queue, fuse_req_t req, const struct fsim_request *request,
		   void *taken)
{
	struct job *job = malloc(sizeof(*job));
	if (job == NULL)
		return -ENOMEM;
	*job = (struct job){.req = req, .request = *request, .taken = taken};
	pthread_mutex_lock(&queue->lock);
	*queue->last = job;
	queue->last = &job->next;
	pthread_cond_signal(&queue->added);
	pthread_mutex_unlock(&queue->lock);
	return 0;
}
