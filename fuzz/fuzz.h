/*
 * fuzz.h
 *    A fuzz target: one function that takes any bytes and must not crash, leak, or run for long.
 *
 * libFuzzer calls it (`make fuzz`); replay.c feeds it the files of the corpus, under the sanitizers of
 * `make check-asan` or without (`make test`).
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
