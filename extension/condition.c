/*
 * condition.c
 *    The condition of outbox.watch_when(): text to expressions for CREATE TRIGGER.
 *
 * The parser is asked for one expression (the way of PL/pgSQL), so that text which tries to be more
 * than that is a syntax error; what it gives goes to CREATE TRIGGER as a tree. PostgreSQL then
 * evaluates it before it even queues a trigger, follows renamed columns, and dumps it as SQL.
 *
 * A trigger for INSERT may not speak of OLD, nor one for DELETE of NEW. So each has a tree of its
 * own, in which the columns of the row that is not there are NULL constants. A whole row that is
 * not there must not be one: a constant of the table's row type would forbid every ALTER TABLE. It
 * is the second element of an array that has only the other row, which is NULL, too.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_clause.h"
#include "parser/parse_collate.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "rewrite/prs2lock.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "condition.h"

/* A position in the condition's text is none in the command's. */
static void
point_into_text(void *arg)
{
	const char *text = arg;
	int         position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(text);
	}
	errcontext("condition \"%s\" of outbox.watch_when()", text);
}

/* All columns: no expression, and nothing that the expression parser was made for. */
static bool
is_star(const Node *node)
{
	return IsA(node, ColumnRef) && IsA(linitial(((const ColumnRef *) node)->fields), A_Star);
}

/* The parser takes "DISTINCT a, b FROM c ORDER BY d" too. */
static bool
is_single_expression(const SelectStmt *select)
{
	const ResTarget *target;

	if (select->op != SETOP_NONE || list_length(select->targetList) != 1 ||
	    select->distinctClause != NIL || select->intoClause != NULL || select->fromClause != NIL ||
	    select->whereClause != NULL || select->groupClause != NIL || select->havingClause != NULL ||
	    select->windowClause != NIL || select->valuesLists != NIL || select->sortClause != NIL ||
	    select->limitOffset != NULL || select->limitCount != NULL || select->lockingClause != NIL ||
	    select->withClause != NULL)
		return false;
	target = linitial_node(ResTarget, select->targetList);
	return target->name == NULL && target->indirection == NIL && !is_star(target->val);
}

static Node *
parse_expression(const char *text)
{
	List       *statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select;

	if (list_length(statements) != 1)
		elog(ERROR, "the parser gave %d statements", list_length(statements));
	select = castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt);
	if (!is_single_expression(select))
		ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
		        errmsg("the condition is not a single expression"),
		        errhint("Write one boolean expression over OLD and NEW, such as "
		                "NEW.published OR OLD.published."));
	return linitial_node(ResTarget, select->targetList)->val;
}

static void
add_row(ParseState *parse, Relation relation, const char *name)
{
	ParseNamespaceItem *item = addRangeTableEntryForRelation(parse, relation, AccessShareLock,
	                                                         makeAlias(name, NIL), false, false);

	addNSItemToQuery(parse, item, false, true, true);
}

Condition
condition_parse(const char *text, Relation relation)
{
	ErrorContextCallback context = {error_context_stack, point_into_text, unconstify(char *, text)};
	ParseState          *parse = make_parsestate(NULL);
	Condition            condition;

	error_context_stack = &context;
	parse->p_sourcetext = text;
	add_row(parse, relation, "old"); /* PRS2_OLD_VARNO */
	add_row(parse, relation, "new"); /* PRS2_NEW_VARNO */
	condition.expression =
		transformWhereClause(parse, parse_expression(text), EXPR_KIND_TRIGGER_WHEN, "WHEN");
	assign_expr_collations(parse, condition.expression);
	condition.rows = parse->p_rtable;
	error_context_stack = context.previous;
	free_parsestate(parse);
	return condition;
}

/* Of the domain's base type: a NULL of a domain that forbids it could not be read back. */
static Node *
null_for_column(const Var *column)
{
	int32 modifier = column->vartypmod;
	Oid   type = getBaseTypeAndTypmod(column->vartype, &modifier);

	return (Node *) makeNullConst(type, modifier, column->varcollid);
}

/* (ARRAY[other])[2] */
static Node *
null_for_row(const Var *row)
{
	Index            other = row->varno == PRS2_OLD_VARNO ? PRS2_NEW_VARNO : PRS2_OLD_VARNO;
	ArrayExpr       *array = makeNode(ArrayExpr);
	SubscriptingRef *second = makeNode(SubscriptingRef);

	array->array_typeid = get_array_type(row->vartype);
	array->element_typeid = row->vartype;
	array->elements = list_make1(
		makeVar(other, InvalidAttrNumber, row->vartype, row->vartypmod, row->varcollid, 0));
	array->location = -1;
	second->refcontainertype = array->array_typeid;
	second->refelemtype = row->vartype;
	second->refrestype = row->vartype;
	second->reftypmod = -1;
	second->refupperindexpr = list_make1(
		makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(2), false, true));
	second->refexpr = (Expr *) array;
	return (Node *) second;
}

static bool
is_whole_row_of(const Node *node, int row)
{
	const Var *variable = (const Var *) node;

	return node != NULL && IsA(node, Var) && variable->varno == row &&
	       variable->varattno == InvalidAttrNumber;
}

static Node *
replace_row(Node *node, void *context)
{
	int row = *(int *) context;

	if (node == NULL)
		return NULL;
	if (IsA(node, NullTest) && is_whole_row_of((Node *) ((NullTest *) node)->arg, row))
		return makeBoolConst(((NullTest *) node)->nulltesttype == IS_NULL, false);
	if (is_whole_row_of(node, row))
		return null_for_row((Var *) node);
	if (IsA(node, Var) && ((Var *) node)->varno == row)
		return null_for_column((Var *) node);
	return expression_tree_mutator(node, replace_row, context);
}

Node *
condition_without_old(const Condition *condition)
{
	int row = PRS2_OLD_VARNO;

	return replace_row(condition->expression, &row);
}

Node *
condition_without_new(const Condition *condition)
{
	int row = PRS2_NEW_VARNO;

	return replace_row(condition->expression, &row);
}
