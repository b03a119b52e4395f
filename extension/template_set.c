/*
 * template_set.c
 *    The templates of one trigger, fitted to its table and kept for the next row.
 *
 * A set is thrown away when the table's relcache entry is invalidated: a column was renamed,
 * dropped or given another type, or the trigger was replaced. An invalidation may arrive while a
 * set is being made, and while one is in use (a cast may run code that changes a table). So an
 * entry is marked valid before its set is made, and a set that is replaced lives on until the
 * transaction ends. Source of the idea: PgQ, triggers/common.c.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "placeholder.h"
#include "template_set.h"
#include "trigger.h"
#include "trigger_catalog.h"

#define INITIAL_TRIGGERS 32
#define MAX_TRIGGERS 1024 /* kept; a session that makes and drops tables must not grow */

struct TemplateSet
{
	MemoryContext context;
	int           count;
	Template     *templates;
	Placeholder **bound; /* for each template, for each part; unused for literal ones */
	uint64       *marks;
	uint32        needs;
	int           column_count; /* 0: all count */
	AttrNumber   *columns;
};

typedef struct CacheEntry
{
	Oid          trigger; /* key */
	Oid          relation;
	bool         valid;
	TemplateSet *set; /* NULL: not made yet, or making it failed */
} CacheEntry;

static HTAB       *cache;
static CacheEntry *last_used; /* most rows are of the table before; NULL: none */

static void
forget_relation(Datum arg, Oid relation)
{
	HASH_SEQ_STATUS scan;
	CacheEntry     *entry;

	hash_seq_init(&scan, cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (relation == InvalidOid || entry->relation == relation)
			entry->valid = false;
	}
}

/* A cast to text was made or dropped. */
static void
forget_casts(Datum arg, int cache_id, uint32 hash)
{
	forget_relation(arg, InvalidOid);
}

static void
cache_begin(void)
{
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(CacheEntry)};

	if (cache != NULL)
		return;
	control.hcxt = CacheMemoryContext;
	cache = hash_create("outbox templates", INITIAL_TRIGGERS, &control,
	                    HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(CASTSOURCETARGET, forget_casts, (Datum) 0);
}

/* The column's pg_attribute row, to be released; NULL: the table has no such column of its own. */
static HeapTuple
find_column(Oid relation, const char *name)
{
	HeapTuple tuple = SearchSysCacheAttName(relation, name);

	if (!HeapTupleIsValid(tuple))
		return NULL;
	if (((Form_pg_attribute) GETSTRUCT(tuple))->attnum > 0)
		return tuple;
	ReleaseSysCache(tuple);
	return NULL;
}

static bool
part_fits(const Template *template, const TemplatePart *part, Oid relation,
          TemplateProblem *problem)
{
	HeapTuple tuple = find_column(relation, part->column);
	Oid       type;

	if (!HeapTupleIsValid(tuple))
	{
		*problem = (TemplateProblem){
			ERRCODE_UNDEFINED_COLUMN,
			psprintf("key template \"%s\" names unknown column \"%s\"", template->text,
		             part->column),
			psprintf("Table \"%s\" has no such column.", get_rel_name(relation)),
			pstrdup(part->step_count == 0
		                ? "Write {{ and }} for literal braces."
		                : "Write a name that holds \".\" in double quotes: {\"a.b\"}.")};
		return false;
	}
	type = ((Form_pg_attribute) GETSTRUCT(tuple))->atttypid;
	ReleaseSysCache(tuple);
	return placeholder_fits(template, part, type, problem);
}

bool
template_fits(const Template *template, Oid relation, TemplateProblem *problem)
{
	for (int i = 0; i < template->part_count; i++)
	{
		const TemplatePart *part = &template->parts[i];

		if (part->column != NULL && !part_fits(template, part, relation, problem))
			return false;
	}
	return true;
}

static void
bind_part(Placeholder *bound, Oid relation, const TemplatePart *part, MemoryContext context)
{
	HeapTuple         tuple = find_column(relation, part->column);
	Form_pg_attribute attribute;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "column \"%s\" of relation %u vanished", part->column, relation);
	attribute = (Form_pg_attribute) GETSTRUCT(tuple);
	placeholder_bind(bound, part, attribute->attnum, attribute->atttypid, attribute->attcollation,
	                 context);
	ReleaseSysCache(tuple);
}

static void
bind_template(TemplateSet *set, int index, Oid relation)
{
	Template *template = &set->templates[index];
	TemplateProblem problem;

	if (!template_fits(template, relation, &problem))
		template_report(&problem);
	set->bound[index] = palloc0(sizeof(Placeholder) * Max(template->part_count, 1));
	for (int i = 0; i < template->part_count; i++)
	{
		if (template->parts[i].column == NULL)
			continue;
		bind_part(&set->bound[index][i], relation, &template->parts[i], set->context);
		set->needs |= set->bound[index][i].renderer.needs;
	}
}

static void
bind_columns(TemplateSet *set, const TriggerArguments *arguments, Oid relation)
{
	set->column_count = arguments->column_count;
	set->columns = palloc0(sizeof(AttrNumber) * Max(set->column_count, 1));
	for (int i = 0; i < set->column_count; i++)
	{
		TemplateProblem problem;

		if (!trigger_column_fits(arguments->columns[i], relation, &problem))
			template_report(&problem);
		set->columns[i] = get_attnum(relation, arguments->columns[i]);
	}
}

/* Made below the current context, and handed over to the cache once it is whole. */
static TemplateSet *
set_make(const Trigger *trigger, Oid relation)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "outbox template set", ALLOCSET_SMALL_SIZES);
	MemoryContext    old = MemoryContextSwitchTo(context);
	TemplateSet     *set = palloc0(sizeof(TemplateSet));
	TriggerArguments arguments = trigger_arguments_split(trigger->tgnargs, trigger->tgargs);

	set->context = context;
	set->count = arguments.template_count;
	bind_columns(set, &arguments, relation);
	set->templates = palloc0(sizeof(Template) * Max(set->count, 1));
	set->bound = palloc0(sizeof(Placeholder *) * Max(set->count, 1));
	set->marks = palloc0(sizeof(uint64) * Max(set->count, 1));
	for (int i = 0; i < set->count; i++)
	{
		TemplateProblem problem;

		if (!template_parse(arguments.templates[i], &set->templates[i], &problem))
			template_report(&problem);
		bind_template(set, i, relation);
	}
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, CacheMemoryContext);
	return set;
}

/* It may be in use. */
static void
retire_set(CacheEntry *entry)
{
	if (entry->set != NULL)
		MemoryContextSetParent(entry->set->context, TopTransactionContext);
	entry->set = NULL;
}

static void
forget_all(void)
{
	HASH_SEQ_STATUS scan;
	CacheEntry     *entry;

	last_used = NULL;
	hash_seq_init(&scan, cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		retire_set(entry);
		(void) hash_search(cache, &entry->trigger, HASH_REMOVE, NULL);
	}
}

static bool
is_usable(const CacheEntry *entry)
{
	return entry != NULL && entry->valid && entry->set != NULL;
}

/* The trigger's entry, to be filled. */
static CacheEntry *
begin_entry(Oid trigger, Oid relation)
{
	CacheEntry *entry = hash_search(cache, &trigger, HASH_FIND, NULL);
	bool        found;

	if (entry == NULL && hash_get_num_entries(cache) >= MAX_TRIGGERS)
		forget_all();
	entry = hash_search(cache, &trigger, HASH_ENTER, &found);
	if (found)
		retire_set(entry);
	entry->set = NULL;
	entry->relation = relation;
	entry->valid = true;
	return entry;
}

const TemplateSet *
template_set_get(const TriggerData *trigger)
{
	Oid          oid = trigger->tg_trigger->tgoid;
	Oid          relation = RelationGetRelid(trigger->tg_relation);
	CacheEntry  *entry;
	TemplateSet *set;

	if (is_usable(last_used) && last_used->trigger == oid)
		return last_used->set;
	cache_begin();
	entry = hash_search(cache, &oid, HASH_FIND, NULL);
	if (!is_usable(entry))
	{
		entry = begin_entry(oid, relation);
		trigger_check_use(TRIGGER_INVALIDATES, trigger->tg_trigger);
		set = set_make(trigger->tg_trigger, relation);
		entry->set = set;
	}
	last_used = entry;
	return entry->set;
}

int
template_set_count(const TemplateSet *set)
{
	return set->count;
}

const Template *
template_set_text(const TemplateSet *set, int index)
{
	return &set->templates[index];
}

uint32
template_set_needs(const TemplateSet *set)
{
	return set->needs;
}

int
template_set_columns(const TemplateSet *set, const AttrNumber **columns)
{
	*columns = set->columns;
	return set->column_count;
}

AttrNumber
template_set_column(const TemplateSet *set, int index, int part)
{
	return set->templates[index].parts[part].literal == NULL ? set->bound[index][part].column : 0;
}

uint64 *
template_set_mark(const TemplateSet *set, int index)
{
	return &set->marks[index];
}

/* The value behind a placeholder's path. false: NULL, no key. */
static bool
get_value(const Placeholder *placeholder, TupleTableSlot *row, Datum *value)
{
	bool is_null;

	*value = slot_getattr(row, placeholder->column, &is_null);
	return !is_null && placeholder_follow(placeholder, value);
}

/* element: what a placeholder with `each` stands for in this key. false: no key. */
static bool
append_key(const TemplateSet *set, int index, TupleTableSlot *row, Datum element, StringInfo key)
{
	const Template *template = &set->templates[index];

	resetStringInfo(key);
	for (int i = 0; i < template->part_count; i++)
	{
		const TemplatePart *part = &template->parts[i];
		const Placeholder  *placeholder = &set->bound[index][i];
		Datum               value = element;

		if (part->literal != NULL)
		{
			appendBinaryStringInfo(key, part->literal, part->literal_length);
			continue;
		}
		if (!part->each && !get_value(placeholder, row, &value))
			return false;
		if (!placeholder_append(placeholder, value, key))
			return false;
	}
	return key->len > 0;
}

/* NULL: the template has none. */
static const Placeholder *
find_each(const TemplateSet *set, int index)
{
	for (int i = 0; i < set->templates[index].part_count; i++)
	{
		if (set->templates[index].parts[i].each)
			return &set->bound[index][i];
	}
	return NULL;
}

void
template_set_expand(const TemplateSet *set, int index, TupleTableSlot *row, StringInfo key,
                    TemplateEmit emit, void *context)
{
	const Placeholder *each = find_each(set, index);
	PlaceholderValues  elements;
	Datum              value;

	if (each == NULL)
	{
		if (append_key(set, index, row, (Datum) 0, key))
			emit(key->data, key->len, context);
		return;
	}
	if (!get_value(each, row, &value))
		return;
	elements = placeholder_elements(each, value);
	for (int i = 0; i < elements.count; i++)
	{
		if (!elements.nulls[i] && append_key(set, index, row, elements.values[i], key))
			emit(key->data, key->len, context);
	}
}
