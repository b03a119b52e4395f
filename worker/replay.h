/*
 * replay.h
 *    --replay-dead: sends the messages of <queue>.dead back to the queue, then ends.
 *
 * As many as the dead-letter queue held at the start: what the worker refuses again meanwhile comes
 * in behind them and is left alone. Each is published with a confirm and `mandatory`, with its body,
 * properties and headers and the header x-outbox-replayed-at; only then is the dead letter
 * acknowledged. Whatever goes wrong, what was not confirmed stays where it was: a message may be sent
 * twice, none is lost.
 */
#ifndef WORKER_REPLAY_H
#define WORKER_REPLAY_H

#include "worker/config.h"

#define REPLAY_HEADER "x-outbox-replayed-at" /* UTC, ISO 8601 */

/* Says on standard output what it did. The exit status: 0, or 1 where messages are left. */
int replay_run(const WorkerConfig *config);

#endif
