/*
 * databases.c
 *    DROP, RENAME and SET TABLESPACE of a DATABASE, and CREATE DATABASE ... TEMPLATE fail while
 *    anybody is connected to it: its relay gets out of the way first, and stays away until the
 *    command has ended or failed.
 *
 * Only somebody who may give the command moves a relay. COMMIT PREPARED runs in a backend that knows
 * nothing of the keys written at PREPARE: it wakes the relay here, where failing is still allowed.
 * Idea: TimescaleDB, src/loader/README.md.
 */
#include "postgres.h"

#include "relay/databases.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "extension/compat.h"
#include "extension/shmem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/wait_event.h"

#define LEAVE_LIMIT_MS 5000 /* for the relay to leave; as long as the command itself would wait */
#define LEAVE_LOOK_MS 10

static ProcessUtility_hook_type previous_hook = NULL;

/* A database that was made by copying: if its making commits, it gets a probe. */
static Oid made_database = InvalidOid;

/* A database that was dropped, and its slot, held until that commits: to a launcher that looked
 * earlier it would still be there. */
static Oid         dropped_database = InvalidOid;
static OutboxSlot *dropped_slot = NULL;

/* ---- keeping a relay away --------------------------------------------------------------------- */

static void
set_holder(OutboxSlot *slot, int pid)
{
	LWLockAcquire(&outbox_shared->lock, LW_EXCLUSIVE);
	slot->holder_pid = pid;
	if (pid == 0 && outbox_shared->launcher_latch != NULL)
		SetLatch(outbox_shared->launcher_latch);
	LWLockRelease(&outbox_shared->lock);
}

static int
relay_pid(OutboxSlot *slot)
{
	int pid;

	LWLockAcquire(&outbox_shared->lock, LW_SHARED);
	pid = slot->relay_pid;
	LWLockRelease(&outbox_shared->lock);
	return pid;
}

/* Sends the relay away and waits until it has gone. */
static void
send_away(OutboxSlot *slot)
{
	int pid = relay_pid(slot);

	for (int waited_ms = 0; pid != 0 && waited_ms < LEAVE_LIMIT_MS; waited_ms += LEAVE_LOOK_MS)
	{
		if (waited_ms == 0)
			(void) kill(pid, SIGTERM);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LEAVE_LOOK_MS,
		                 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		pid = relay_pid(slot);
	}
}

/* ---- which database does a command concern? --------------------------------------------------- */

/* The template that CREATE DATABASE copies; NULL: none is named. */
static const char *
template_of(const CreatedbStmt *statement)
{
	ListCell *cell;

	foreach (cell, statement->options)
	{
		DefElem *option = lfirst(cell);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* ALTER DATABASE ... SET TABLESPACE? */
static bool
moves_tablespace(const AlterDatabaseStmt *statement)
{
	ListCell *cell;

	foreach (cell, statement->options)
	{
		if (strcmp(((DefElem *) lfirst(cell))->defname, "tablespace") == 0)
			return true;
	}
	return false;
}

/* The database from which the relay must go, by name; NULL: none. */
static const char *
concerned_database(Node *statement)
{
	switch (nodeTag(statement))
	{
	case T_DropdbStmt:
		return ((DropdbStmt *) statement)->dbname;
	case T_RenameStmt:
		if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
			return ((RenameStmt *) statement)->subname;
		return NULL;
	case T_AlterDatabaseStmt:
		if (moves_tablespace((AlterDatabaseStmt *) statement))
			return ((AlterDatabaseStmt *) statement)->dbname;
		return NULL;
	case T_CreatedbStmt:
		return template_of((CreatedbStmt *) statement);
	default:
		return NULL;
	}
}

/* ---- hooks ------------------------------------------------------------------------------------ */

typedef struct Utility
{
	PlannedStmt          *statement;
	const char           *text;
	bool                  read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo         parameters;
	QueryEnvironment     *environment;
	DestReceiver         *destination;
	QueryCompletion      *completion;
} Utility;

static void
run(const Utility *utility)
{
	ProcessUtility_hook_type next = previous_hook != NULL ? previous_hook : standard_ProcessUtility;

	next(utility->statement, utility->text, utility->read_only_tree, utility->context,
	     utility->parameters, utility->environment, utility->destination, utility->completion);
}

/* Runs a command with the slot's relay kept away. */
static void
run_without_relay(const Utility *utility, OutboxSlot *slot, Oid database)
{
	set_holder(slot, MyProcPid);
	PG_TRY();
	{
		send_away(slot);
		run(utility);
	}
	PG_CATCH();
	{
		set_holder(slot, 0);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (IsA(utility->statement->utilityStmt, DropdbStmt))
	{
		dropped_database = database;
		dropped_slot = slot;
	}
	else
		set_holder(slot, 0);
}

static void
run_database_command(const Utility *utility, const char *name)
{
	Oid         database = get_database_oid(name, true);
	OutboxSlot *slot = OidIsValid(database) ? shmem_find(database) : NULL;

	/* All these commands ask for ownership; whoever lacks it moves no relay. (A database marked as
	 * template may be copied by others, but has no relay.) */
	if (slot != NULL && compat_owns_database(database, GetUserId()))
		run_without_relay(utility, slot, database);
	else
		run(utility);
}

static bool
is_commit_prepared(Node *statement)
{
	return IsA(statement, TransactionStmt) &&
	       ((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;
}

static void
utility_hook(PlannedStmt *statement, const char *text, bool read_only_tree,
             ProcessUtilityContext context, ParamListInfo parameters, QueryEnvironment *environment,
             DestReceiver *destination, QueryCompletion *completion)
{
	Utility     utility = {statement,  text,        read_only_tree, context,
	                       parameters, environment, destination,    completion};
	Node       *node = statement->utilityStmt;
	const char *concerned = concerned_database(node);
	const char *made = IsA(node, CreatedbStmt) ? ((CreatedbStmt *) node)->dbname : NULL;
	bool        commits_prepared = is_commit_prepared(node);

	if (concerned != NULL)
		run_database_command(&utility, concerned);
	else
		run(&utility);
	if (commits_prepared)
		shmem_wake_relay();
	if (made != NULL)
	{
		CommandCounterIncrement();
		made_database = get_database_oid(made, true);
	}
}

static void
on_transaction_end(XactEvent event, void *arg)
{
	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	if (event == XACT_EVENT_COMMIT && OidIsValid(made_database))
		(void) shmem_want(made_database);
	made_database = InvalidOid;
	if (event == XACT_EVENT_COMMIT && OidIsValid(dropped_database))
		shmem_forget(dropped_database);
	else if (OidIsValid(dropped_database))
		set_holder(dropped_slot, 0);
	dropped_database = InvalidOid;
}

void
databases_init(void)
{
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = utility_hook;
	RegisterXactCallback(on_transaction_end, NULL);
}
