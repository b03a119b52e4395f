/*
 * render.h
 *    A column's value as text, alike in every session.
 *
 * The text is what the cast ::text gives under fixed settings. Most types need none of them; the
 * caller pins what its columns need once for a row, not for each value.
 */
#ifndef OUTBOX_RENDER_H
#define OUTBOX_RENDER_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

typedef enum RenderWay
{
	RENDER_TEXT,  /* it is text */
	RENDER_INT4,  /* what most keys are made of: */
	RENDER_INT8,  /* without the detour of a C string */
	RENDER_CAST,  /* a cast function that gives text */
	RENDER_OUTPUT /* the type's output function */
} RenderWay;

typedef struct Renderer
{
	RenderWay way;
	FmgrInfo  function;
	int       arguments; /* of a cast function: value, type modifier, is explicit */
	Oid       collation;
	uint32    needs; /* for render_pin; 0: depends on no setting */
} Renderer;

/* Finds out how values of a type become text; what is looked up lives in context. */
void renderer_init(Renderer *renderer, Oid type, Oid collation, MemoryContext context);

/* What the text of values of a type depends on, for render_pin. */
uint32 render_needs_of_type(Oid type);

/* Gives the settings in `needs` (of one or several renderers) their fixed values. Returns what
 * render_unpin takes; an ERROR in between restores them with the (sub)transaction. */
int  render_pin(uint32 needs);
void render_unpin(int nest_level);

/* Appends the text of a value that is not NULL. false: a cast made NULL of it. */
bool render_append(const Renderer *renderer, Datum value, StringInfo out);

#endif
