/*
 * pending.c
 *    The journal of what a transaction will record, its hash table, its savepoint marks.
 *
 * Most transactions record a handful of keys: these are compared one by one, and the hash table is
 * made for the next one.
 *
 * A savepoint's entries are always the journal's tail, so a stack of marks is all that
 * subtransactions need: on subcommit the mark moves to the parent or goes, on subabort the journal
 * is cut back to it. A key first seen before the savepoint and again inside it is not in the tail,
 * and survives, rightly. Marks are pushed lazily, by the first entry of a subtransaction, so a
 * hundred thousand savepoints that touch nothing cost nothing.
 *
 * All memory lies in a context that is kept for the next transaction and emptied when this one ends;
 * entries that are cut are freed at once, or a loop of rolled back savepoints would grow. Limits are
 * the caller's (xact.c).
 * Source of the idea: src/backend/commands/async.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "compat.h"
#include "pending.h"

#define FEW_ENTRIES 8 /* compared one by one */
#define INITIAL_ENTRIES 64
#define INITIAL_MARKS 8
#define ENTRY_OVERHEAD 96 /* journal, hash table and allocator, for each entry, roughly */

/* A key in the hash table is a pointer to an entry that lives as long as it is in the journal. */
typedef struct KeySlot
{
	PendingEntry *key;
	char          status;
} KeySlot;

static bool
entries_equal(const PendingEntry *a, const PendingEntry *b)
{
	return a->kind == b->kind && a->length == b->length &&
	       memcmp(a->of.data, b->of.data, a->length) == 0;
}

static uint32
entry_hash(const PendingEntry *entry)
{
	return hash_bytes((const unsigned char *) entry->of.data, entry->length);
}

#define SH_PREFIX keys
#define SH_ELEMENT_TYPE KeySlot
#define SH_KEY_TYPE PendingEntry *
#define SH_KEY key
#define SH_HASH_KEY(table, key) ((key)->hash)
#define SH_EQUAL(table, a, b) ((a)->hash == (b)->hash && entries_equal(a, b))
#define SH_STORE_HASH
#define SH_GET_HASH(table, slot) ((slot)->key->hash)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Entries from `start` on were added at `nest_level`, up to the next mark's start. */
typedef struct Mark
{
	int    nest_level;
	uint64 start;
} Mark;

typedef struct Pending
{
	MemoryContext  context; /* of all below; made once, emptied at the end of a transaction */
	PendingEntry **entries; /* NULL: nothing was added in this transaction */
	uint64         count;
	uint64         capacity;
	uint64         numbered; /* entries below have their id, where they need one */
	size_t         bytes;
	uint64         generation; /* counts removals, over all transactions */
	keys_hash     *keys;       /* NULL: there are few */
	Mark          *marks;
	int            mark_count;
	int            mark_capacity;
} Pending;

static Pending pending;

static void
pending_begin(void)
{
	if (pending.entries != NULL)
		return;
	if (pending.context == NULL)
		pending.context =
			AllocSetContextCreate(TopMemoryContext, "outbox pending set", ALLOCSET_DEFAULT_SIZES);
	pending.entries = MemoryContextAlloc(pending.context, sizeof(PendingEntry *) * INITIAL_ENTRIES);
	pending.capacity = INITIAL_ENTRIES;
}

static int
top_level(void)
{
	return pending.mark_count == 0 ? 1 : pending.marks[pending.mark_count - 1].nest_level;
}

static void
grow_marks(void)
{
	int capacity = Max(pending.mark_capacity * 2, INITIAL_MARKS);

	if (pending.marks == NULL)
		pending.marks = MemoryContextAlloc(pending.context, sizeof(Mark) * capacity);
	else
		pending.marks = repalloc_huge(pending.marks, sizeof(Mark) * capacity);
	pending.mark_capacity = capacity;
}

static void
push_mark(void)
{
	int nest_level = GetCurrentTransactionNestLevel();

	Assert(nest_level >= top_level());
	if (nest_level == top_level())
		return;
	if (pending.mark_count == pending.mark_capacity)
		grow_marks();
	pending.marks[pending.mark_count++] = (Mark){nest_level, pending.count};
}

/* Makes room first: what follows cannot fail halfway. */
static void
reserve_entry(void)
{
	pending_begin();
	push_mark();
	if (pending.count < pending.capacity)
		return;
	pending.entries = repalloc_huge(pending.entries, sizeof(PendingEntry *) * pending.capacity * 2);
	pending.capacity *= 2;
}

static void
append_entry(PendingEntry *entry)
{
	pending.entries[pending.count++] = entry;
	pending.bytes += entry->bytes;
}

static void
insert_key(keys_hash *keys, PendingEntry *entry)
{
	bool     found;
	KeySlot *slot = keys_insert(keys, entry, &found);

	slot->key = entry;
}

static keys_hash *
hash_all(void)
{
	keys_hash *keys = keys_create(pending.context, INITIAL_ENTRIES, NULL);

	for (uint64 i = 0; i < pending.count; i++)
	{
		PendingEntry *entry = pending.entries[i];

		if (entry->kind == PENDING_MESSAGE)
			continue;
		entry->hash = entry_hash(entry);
		insert_key(keys, entry);
	}
	return keys;
}

static bool
is_there(PendingEntry *probe)
{
	if (pending.keys == NULL && pending.count >= FEW_ENTRIES)
		pending.keys = hash_all();
	if (pending.keys != NULL)
	{
		probe->hash = entry_hash(probe);
		return keys_lookup(pending.keys, probe) != NULL;
	}
	for (uint64 i = 0; i < pending.count; i++)
	{
		if (entries_equal(pending.entries[i], probe))
			return true;
	}
	return false;
}

void
pending_add(PendingKind kind, const char *data, int length)
{
	PendingEntry  probe = {.kind = kind, .length = length, .of.data = unconstify(char *, data)};
	PendingEntry *entry;

	if (is_there(&probe))
		return;
	reserve_entry();
	entry = MemoryContextAlloc(pending.context, sizeof(PendingEntry) + length);
	*entry = probe;
	entry->of.data = (char *) (entry + 1);
	memcpy(entry->of.data, data, length);
	entry->bytes = ENTRY_OVERHEAD + length;
	if (pending.keys != NULL)
		insert_key(pending.keys, entry);
	append_entry(entry);
}

static Datum
copy_varlena(Datum value, size_t *bytes)
{
	if (value == (Datum) 0)
		return value;
	*bytes += VARSIZE_ANY(DatumGetPointer(value));
	return datumCopy(value, false, -1);
}

static const char *
copy_text(const char *text, size_t *bytes)
{
	if (text == NULL)
		return NULL;
	*bytes += strlen(text);
	return pstrdup(text);
}

void
pending_add_message(const EventRow *row)
{
	MemoryContext old;
	PendingEntry *entry;
	EventRow     *copy;
	size_t        bytes = ENTRY_OVERHEAD;

	reserve_entry();
	old = MemoryContextSwitchTo(pending.context);
	entry = palloc0(sizeof(PendingEntry));
	entry->kind = PENDING_MESSAGE;
	entry->of.message = copy = palloc0(sizeof(EventRow));
	copy->exchange = copy_text(row->exchange, &bytes);
	copy->routing_key = copy_text(row->routing_key, &bytes);
	copy->payload = copy_varlena(row->payload, &bytes);
	copy->body = copy_varlena(row->body, &bytes);
	copy->headers = copy_varlena(row->headers, &bytes);
	copy->properties = copy_varlena(row->properties, &bytes);
	entry->bytes = bytes;
	MemoryContextSwitchTo(old);
	append_entry(entry);
}

uint64
pending_count(void)
{
	return pending.count;
}

const PendingEntry *
pending_entry(uint64 index)
{
	Assert(index < pending.count);
	return pending.entries[index];
}

uint64
pending_generation(void)
{
	return pending.generation + 1;
}

size_t
pending_bytes(void)
{
	return pending.bytes;
}

uint64
pending_section_start(int nest_level)
{
	int mark;

	if (nest_level <= 1)
		return 0;
	mark = pending.mark_count;
	while (mark > 0 && pending.marks[mark - 1].nest_level >= nest_level)
		mark--;
	return mark == pending.mark_count ? pending.count : pending.marks[mark].start;
}

static void
free_pointer(const void *pointer)
{
	if (pointer != NULL)
		pfree(unconstify(void *, pointer));
}

static void
free_message(EventRow *row)
{
	free_pointer(row->exchange);
	free_pointer(row->routing_key);
	free_pointer(DatumGetPointer(row->payload));
	free_pointer(DatumGetPointer(row->body));
	free_pointer(DatumGetPointer(row->headers));
	free_pointer(DatumGetPointer(row->properties));
	pfree(row);
}

static void
free_entry(PendingEntry *entry)
{
	pending.bytes -= entry->bytes;
	if (entry->kind == PENDING_MESSAGE)
		free_message(entry->of.message);
	else if (pending.keys != NULL)
		keys_delete(pending.keys, entry);
	pfree(entry);
}

void
pending_remove(uint64 from, uint64 to)
{
	uint64 removed = to - from;

	if (removed == 0)
		return;
	Assert(from < to && to <= pending.count);
	for (uint64 i = to; i > from; i--)
		free_entry(pending.entries[i - 1]);
	memmove(pending.entries + from, pending.entries + to,
	        sizeof(PendingEntry *) * (pending.count - to));
	pending.count -= removed;
	pending.generation++;
	if (pending.numbered > from)
		pending.numbered -= Min(removed, pending.numbered - from);
	for (int i = pending.mark_count; i > 0 && pending.marks[i - 1].start > from; i--)
		pending.marks[i - 1].start -= Min(removed, pending.marks[i - 1].start - from);
}

uint64
pending_numbered(void)
{
	return pending.numbered;
}

void
pending_set_numbered(uint64 count)
{
	Assert(count <= pending.count);
	pending.numbered = count;
}

void
pending_subcommit(int nest_level)
{
	Mark *top;

	if (top_level() < nest_level)
		return;
	Assert(top_level() == nest_level);
	top = &pending.marks[pending.mark_count - 1];
	top->nest_level--;
	if (top->nest_level == 1 || (pending.mark_count > 1 && top[-1].nest_level == top->nest_level))
		pending.mark_count--;
}

void
pending_subabort(int nest_level)
{
	while (pending.mark_count > 0 && top_level() >= nest_level)
	{
		pending_remove(pending.marks[pending.mark_count - 1].start, pending.count);
		pending.mark_count--;
	}
}

void
pending_forget(void)
{
	if (pending.entries == NULL)
		return;
	pending = (Pending){.context = pending.context, .generation = pending.generation + 1};
	MemoryContextReset(pending.context);
}
