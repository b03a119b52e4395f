/*
 * unit.h
 *    What every unit test includes.
 */
#ifndef OUTBOX_UNIT_H
#define OUTBOX_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#endif
