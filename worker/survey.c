/*
 * survey.c
 *    See survey.h.
 */
#include "worker/survey.h"

#include <string.h>

void
survey_begin(Survey *survey)
{
	for (int i = 0; i < SLOT_COUNT; i++)
		survey->owner[i] = SLOT_NO_OWNER;
	memset(&survey->moving, 0, sizeof(survey->moving));
	survey->stranger = false;
}

void
survey_claim(Survey *survey, int node, const SlotClaims *claims)
{
	for (int i = 0; i < SLOT_COUNT; i++)
	{
		if (!slot_set_has(&claims->owned, i))
			continue;
		/* Two claim it: it has just changed hands. */
		if (survey->owner[i] != SLOT_NO_OWNER)
			slot_set_add(&survey->moving, i);
		survey->owner[i] = (int16_t) node;
	}
	for (int i = 0; i < SLOT_COUNT / 64; i++)
		survey->moving.words[i] |= claims->moving.words[i];
	survey->stranger |= claims->stranger;
}

static void
remember(Survey *survey, const SlotSet *changed)
{
	memcpy(survey->last_owner, survey->owner, sizeof(survey->owner));
	survey->last_moving = !slot_set_is_empty(&survey->moving);
	survey->last_changed = *changed;
}

/* Since the last survey. */
static SlotSet
changed_slots(const Survey *survey)
{
	SlotSet changed = {0};

	for (int i = 0; i < SLOT_COUNT; i++)
		if (survey->owner[i] != survey->last_owner[i])
			slot_set_add(&changed, i);
	return changed;
}

static bool
has_seen_all(const Survey *survey, const SlotSet *changed)
{
	if (slot_set_is_empty(changed) && slot_set_is_empty(&survey->moving) && !survey->last_moving)
		return true;
	return survey->rounds >= 2 && !slot_set_meets(changed, &survey->last_changed) &&
	       !slot_set_meets(changed, &survey->moving) &&
	       !slot_set_meets(&survey->last_changed, &survey->moving);
}

SurveyVerdict
survey_judge(Survey *survey, bool scanned)
{
	SlotSet changed = {0};

	/* Claimed by nobody: it is changing hands, or has no owner at all. */
	for (int i = 0; i < SLOT_COUNT; i++)
		if (survey->owner[i] == SLOT_NO_OWNER)
			slot_set_add(&survey->moving, i);
	if (!scanned)
		survey->rounds = 0;
	else
	{
		survey->rounds++;
		changed = changed_slots(survey);
		if (has_seen_all(survey, &changed))
			return SURVEY_COMPLETE;
	}
	remember(survey, &changed);
	return survey->stranger ? SURVEY_WAIT : SURVEY_SCAN;
}
