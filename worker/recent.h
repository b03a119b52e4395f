/*
 * recent.h
 *    What was deleted lately and may not have reached every replica: deleted once more after a fail-over.
 *
 * Redis replicates after it has answered. A master that dies, or is cut off, takes its last deletions
 * with it, and the replica that takes its place still has those keys: an acknowledged deletion is
 * undone. So what a master has answered is kept until all replicas have it, and given out again once
 * the connection was lost.
 *
 * What replicas have, the master tells (ROLE): its own offset, and the offset that each replica has
 * acknowledged. A mark notes the offset at one moment; what was deleted before it is forgotten when
 * every replica is past it. Where a replica is missing, nothing can be told from offsets: what is
 * older than keep_us is forgotten then. And where more than max_bytes are held, the oldest.
 *
 * Keys are copied into chunks of their own, half full at least. Patterns that were scanned to their end are
 * kept too: keys that the scan did not find may be there on the other server.
 */
#ifndef WORKER_RECENT_H
#define WORKER_RECENT_H

#include "worker/chunks.h"

#include <stdbool.h>
#include <stdint.h>

#define RECENT_MAX_BYTES ((size_t) 32 * 1024 * 1024) /* about 400,000 keys of 40 bytes */
#define RECENT_MAX_PATTERN_BYTES ((size_t) 1024 * 1024)
#define RECENT_MARKS 64

typedef struct RecentMark
{
	uint64_t offset; /* of the master, then */
	int64_t  made_us;
	uint64_t chunks, patterns; /* how many there had been */
} RecentMark;

typedef struct RecentPattern
{
	struct RecentPattern *next;
	MqBytes               bytes; /* behind the struct */
} RecentPattern;

typedef struct RecentPatterns
{
	RecentPattern *head, *tail;
} RecentPatterns;

/* Kept: deleted, and maybe not replicated. Again: to be deleted once more. */
typedef struct Recent
{
	int64_t   keep_us; /* 0: off, nothing is kept */
	size_t    max_bytes;
	ChunkList kept, again;
	size_t    held_bytes;
	bool      tail_closed; /* of kept: a mark is behind it */
	uint64_t  chunks_added, chunks_gone;

	RecentPatterns kept_patterns, again_patterns;
	size_t         pattern_bytes;
	uint64_t       patterns_added, patterns_gone;

	RecentMark marks[RECENT_MARKS]; /* a ring */
	size_t     mark_first, mark_count;
} Recent;

/* Zeroed, with keep_us and max_bytes, is empty. spare: where chunks come from and go to. */
void recent_free(Recent *recent, ChunkQueue *spare);

/* These keys, this pattern (prefix and all) were deleted. Out of memory: they are not kept. Returns how many
 * were forgotten, those or older ones, since there is no more room. */
size_t recent_add(Recent *recent, ChunkQueue *spare, const Chunk *chunk);
size_t recent_add_pattern(Recent *recent, MqBytes pattern);

/* The master is at this offset; what was added so far is before it. And so much all replicas have
 * (replicated false: that is not known, one is missing). */
void recent_role(Recent *recent, ChunkQueue *spare, uint64_t offset, bool replicated,
                 uint64_t replicas_offset, int64_t now_us);

/* The connection is lost: everything is to be deleted again. */
void recent_again(Recent *recent);

/* Is anything? */
bool recent_has_again(const Recent *recent);

/* Is anything kept? */
bool recent_has_kept(const Recent *recent);

/* The next chunk to delete again, taken out; NULL: none. And back: it has to be sent again. */
Chunk *recent_take(Recent *recent);
void   recent_put_back(Recent *recent, Chunk *chunk);

/* The next pattern to scan again, taken out for the caller to free; NULL: none. */
RecentPattern *recent_take_pattern(Recent *recent);
void           recent_put_back_pattern(Recent *recent, RecentPattern *pattern);

#endif
