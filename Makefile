# pg_outbox: `make`, `make test`, `make demo`; `make help` lists the rest.

PG_CONFIG ?= pg_config
BINDIR    ?= /usr/local/bin
# The release, in VERSION, and its SQL objects, in the control file: docs/packages.md says how they relate.
# No variable is called VERSION: in PGXS that is the server's.
OUTBOX_RELEASE := $(shell cat VERSION)
OUTBOX_VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" pg_outbox.control)
OUTBOX_DEFINES := -DOUTBOX_RELEASE='"$(OUTBOX_RELEASE)"' -DOUTBOX_VERSION='"$(OUTBOX_VERSION)"'

# WORKER=no builds and installs the extension alone.
WORKER    ?= yes

# On a fresh machine there is no server to build for yet: `make deps`, `make test` and `make demo`
# must work there all the same. They call make again once the packages are installed.
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

.DEFAULT_GOAL := all

# ---- the extension: PGXS ------------------------------------------------------------------------

WIRE_SOURCES  := $(wildcard wire/*.c)
MODULE_big    := pg_outbox
OBJS          := $(patsubst %.c,%.o,$(wildcard extension/*.c relay/*.c) $(WIRE_SOURCES))
EXTENSION     := pg_outbox
DATA          := extension/pg_outbox--$(OUTBOX_VERSION).sql
SHLIB_LINK    := -lrabbitmq -lssl -lcrypto -Wl,--version-script=extension/exports.map
EXTRA_CLEAN   := build worker/outbox-worker

# The server's headers are not ours to warn about; its flags forbid declarations after statements.
# Only what exports.map names can be seen from outside the library. (-fvisibility=hidden would hide
# that, too: before version 16 the server's headers mark nothing as visible.)
EXTENSION_INCLUDES := -I. -isystem $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)
PG_CPPFLAGS   := $(EXTENSION_INCLUDES) $(OUTBOX_DEFINES)
PG_CFLAGS     := -std=gnu11 -Wall -Wextra -Wno-declaration-after-statement -Wno-unused-parameter -Wno-sign-compare

# installcheck runs in databases that `installcheck-databases` made, where no relay runs: a relay of
# the user's server must not send test events to the user's broker.
REGRESS        := $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
ISOLATION      := $(sort $(patsubst specs/%.spec,%,$(wildcard specs/*.spec)))
REGRESS_PREP   := installcheck-databases
REGRESS_OPTS   := --use-existing
ISOLATION_OPTS := --use-existing
CHECK_DATABASES := contrib_regression isolation_regression

with_llvm     := no
override with_llvm := no
ifneq ($(PGXS),)
include $(PGXS)
# PGXS adds the name of its one database; the last one counts.
REGRESS_OPTS   += --dbname=contrib_regression
ISOLATION_OPTS += --dbname=isolation_regression
else
all install installcheck:
	@echo 'no $(PG_CONFIG): run "make deps", or name yours: make PG_CONFIG=/path/to/pg_config' >&2; exit 1
clean:
	rm -rf build worker/outbox-worker
endif

# The settings are those that pg_regress gives to a database it makes itself.
installcheck-databases:
	@for database in $(CHECK_DATABASES); do \
		printf '%s\n' \
			"DROP DATABASE IF EXISTS $$database;" \
			"CREATE DATABASE $$database TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';" \
			"ALTER DATABASE $$database SET outbox.run_on TO 'nowhere';" \
			"ALTER DATABASE $$database SET lc_messages TO 'C';" \
			"ALTER DATABASE $$database SET lc_monetary TO 'C';" \
			"ALTER DATABASE $$database SET lc_numeric TO 'C';" \
			"ALTER DATABASE $$database SET lc_time TO 'C';" \
			"ALTER DATABASE $$database SET bytea_output TO 'hex';" \
			"ALTER DATABASE $$database SET timezone_abbreviations TO 'Default';" \
			"\\connect $$database" \
			"CREATE EXTENSION pg_outbox;" \
		| "$(bindir)/psql" -X -q -v ON_ERROR_STOP=1 -d postgres || exit 1; \
	done

# ---- the worker: plain rules --------------------------------------------------------------------

WORKER_CFLAGS  ?= -O2 -g
WORKER_CC      ?= $(CC)
PQ_INCLUDE     := $(shell $(PG_CONFIG) --includedir 2>/dev/null)
WORKER_FLAGS   := -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Wshadow -Wformat-security \
	-fstack-protector-strong -I. -I$(PQ_INCLUDE) $(OUTBOX_DEFINES)
WORKER_LIBS    := -lrabbitmq -lhiredis -ljansson -lmicrohttpd -lpq -lssl -lcrypto
WORKER_SOURCES := $(wildcard worker/*.c) $(WIRE_SOURCES)
WORKER_OBJS    := $(patsubst %.c,build/%.o,$(WORKER_SOURCES))

ifneq ($(PGXS),)
ifeq ($(WORKER),yes)
all: worker/outbox-worker
install: install-worker install-man
endif
endif

worker/outbox-worker: $(WORKER_OBJS)
	$(WORKER_CC) $(WORKER_CFLAGS) $(WORKER_LDFLAGS) -o $@ $^ $(WORKER_LIBS)

build/%.o: %.c Makefile VERSION
	@mkdir -p $(@D)
	$(WORKER_CC) $(WORKER_FLAGS) $(WORKER_CFLAGS) -MMD -MP -c -o $@ $<

# The status page is put into the worker as it is.
build/worker/page.o build/asan/worker/page.o: $(wildcard worker/page.html worker/page.css worker/page.js)

install-worker: worker/outbox-worker
	mkdir -p '$(DESTDIR)$(BINDIR)'
	install -m 755 worker/outbox-worker '$(DESTDIR)$(BINDIR)/outbox-worker'

# The extension's objects depend on our headers; PGXS does not see that by itself.
$(filter extension/% relay/%,$(OBJS)): Makefile VERSION $(wildcard extension/*.h relay/*.h wire/*.h)
$(filter wire/%,$(OBJS)): Makefile VERSION $(wildcard wire/*.h)

# ---- manual pages --------------------------------------------------------------------------------

# Written in mdoc; the options come from the worker's --help.
MANDIR    ?= /usr/local/share/man
MAN_PAGES := build/man/outbox-worker.1 build/man/pg_outbox.7

man: $(MAN_PAGES)
$(MAN_PAGES) &: VERSION docs/man/build $(wildcard docs/man/*.[17]*) worker/outbox-worker
	@mkdir -p build/man
	docs/man/build worker/outbox-worker $(OUTBOX_RELEASE) build/man

install-man: $(MAN_PAGES)
	mkdir -p '$(DESTDIR)$(MANDIR)/man1' '$(DESTDIR)$(MANDIR)/man7'
	install -m 644 $(filter %.1,$(MAN_PAGES)) '$(DESTDIR)$(MANDIR)/man1'
	install -m 644 $(filter %.7,$(MAN_PAGES)) '$(DESTDIR)$(MANDIR)/man7'

# ---- unit tests ----------------------------------------------------------------------------------

# Each t/unit/NAME_test.c is a program. It links what it uses of these: archives, so that a test of
# the URL parser does not pull in the rest.
#
#   archive     rooms it holds                                 and their libraries
#   worker.a    worker/ without main.c                         hiredis, jansson, libpq
#   core.a      the relay's core, which knows no server        none
#   wire.a      wire/                                          rabbitmq-c
CORE_SOURCES  := $(addprefix relay/,window.c pace.c batch.c unconfirmed.c destination.c parking.c publisher.c)
UNIT_SOURCES  := $(wildcard t/unit/*_test.c)
UNIT_HELPERS  := $(filter-out $(UNIT_SOURCES),$(wildcard t/unit/*.c))
UNIT_ARCHIVES := worker.a core.a wire.a

worker.a_SOURCES := $(filter-out worker/main.c,$(wildcard worker/*.c))
core.a_SOURCES   := $(CORE_SOURCES)
wire.a_SOURCES   := $(WIRE_SOURCES)

# $(1): folder of a build, $(2): its compiler flags beside WORKER_FLAGS.
define unit_rules
$(foreach a,$(UNIT_ARCHIVES),
$(1)/$(a): $(patsubst %.c,$(1)/%.o,$($(a)_SOURCES))
	@rm -f $$@
	$$(AR) rcs $$@ $$^
)
$(patsubst %.c,$(1)/%,$(UNIT_SOURCES)): $(1)/%: $(1)/%.o $(patsubst %.c,$(1)/%.o,$(UNIT_HELPERS)) \
		$(addprefix $(1)/,$(UNIT_ARCHIVES))
	$(WORKER_CC) $(2) -o $$@ $$^ -lcmocka $(WORKER_LIBS) -lm
.SECONDARY: $(patsubst %.c,$(1)/%.o,$(UNIT_SOURCES))
endef

UNIT_PROGRAMS := $(patsubst %.c,build/%,$(UNIT_SOURCES))
$(eval $(call unit_rules,build,$(WORKER_CFLAGS)))
units: $(UNIT_PROGRAMS)

ASAN_CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
$(eval $(call unit_rules,build/asan,$(ASAN_CFLAGS)))
build/asan/%.o: %.c Makefile VERSION
	@mkdir -p $(@D)
	$(WORKER_CC) $(WORKER_FLAGS) $(ASAN_CFLAGS) -MMD -MP -c -o $@ $<
build/asan/outbox-worker: $(patsubst %.c,build/asan/%.o,$(WORKER_SOURCES))
	$(WORKER_CC) $(ASAN_CFLAGS) -o $@ $^ $(WORKER_LIBS)
build-asan: build/asan/outbox-worker $(patsubst %.c,build/asan/%,$(UNIT_SOURCES))

# ---- fuzzing -------------------------------------------------------------------------------------

# Each fuzz/NAME.c but replay.c is a target; fuzz/corpus/NAME/ holds what it is fed. `make test` feeds
# it once, `make fuzz` lets libFuzzer go on from there for FUZZ_SECONDS each.
FUZZ_TARGETS  := $(filter-out replay,$(patsubst fuzz/%.c,%,$(wildcard fuzz/*.c)))
FUZZ_SECONDS  ?= 60
FUZZ_CFLAGS   := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined

# $(1): folder of a build, $(2): its compiler flags.
define fuzz_rules
$(foreach t,$(FUZZ_TARGETS),$(1)/fuzz/$(t)_replay): $(1)/fuzz/%_replay: $(1)/fuzz/%.o $(1)/fuzz/replay.o \
		$(1)/worker.a $(1)/wire.a
	$(WORKER_CC) $(2) -o $$@ $$^ $(WORKER_LIBS)
endef
$(eval $(call fuzz_rules,build,$(WORKER_CFLAGS)))
$(eval $(call fuzz_rules,build/asan,$(ASAN_CFLAGS)))
.SECONDARY: $(foreach t,$(FUZZ_TARGETS) replay,build/fuzz/$(t).o build/asan/fuzz/$(t).o)
units: $(FUZZ_TARGETS:%=build/fuzz/%_replay)
build-asan: $(FUZZ_TARGETS:%=build/asan/fuzz/%_replay)

build/libfuzzer/%: fuzz/%.c $(filter-out worker/main.c,$(WORKER_SOURCES))
	@mkdir -p $(@D)
	clang $(WORKER_FLAGS) $(subst fuzzer-no-link,fuzzer,$(FUZZ_CFLAGS)) -o $@ $^ $(WORKER_LIBS)

# What it finds on its way is kept in build/, not added to the corpus.
fuzz: $(FUZZ_TARGETS:%=build/libfuzzer/%)
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p build/libfuzzer/$$target.found; \
		build/libfuzzer/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -print_final_stats=1 \
			-artifact_prefix=build/libfuzzer/$$target- \
			build/libfuzzer/$$target.found fuzz/corpus/$$target || exit 1; \
	done

# ---- the model ---------------------------------------------------------------------------------

# The protocol of writers, relay and crash, searched state by state: see model/README.md. A part of it
# is among the units.
MODEL_SOURCES := $(wildcard model/*.c) relay/window.c

# $(1): folder of a build, $(2): its compiler flags.
define model_rules
$(1)/model/model: $(MODEL_SOURCES:%.c=$(1)/%.o)
	$(WORKER_CC) $(2) -o $$@ $$^
endef
$(eval $(call model_rules,build,$(WORKER_CFLAGS)))
$(eval $(call model_rules,build/asan,$(ASAN_CFLAGS)))
units: build/model/model
build-asan: build/asan/model/model

check-model: build/model/model
	@build/model/model --large

# ---- benchmarks ----------------------------------------------------------------------------------

BENCH_HELPERS  := bench/common.c bench/broker.c
BENCH_PROGRAMS := $(patsubst %.c,build/%,$(filter-out $(BENCH_HELPERS),$(wildcard bench/*.c bench/peers/*.c)))
$(BENCH_PROGRAMS): build/bench/%: build/bench/%.o $(BENCH_HELPERS:%.c=build/%.o)
	$(WORKER_CC) $(WORKER_CFLAGS) -o $@ $^ -lhiredis -lpq -lrabbitmq
.SECONDARY: $(addsuffix .o,$(BENCH_PROGRAMS))
# Triggers of the server, to compare with.
build/bench/one_row.so: bench/floor/one_row.c Makefile
	@mkdir -p $(@D)
	$(CC) $(PG_CPPFLAGS) $(CPPFLAGS) $(PG_CFLAGS) -O2 -fPIC -shared -o $@ $<

bench-programs: $(BENCH_PROGRAMS) build/bench/one_row.so
units: bench-programs

-include $(wildcard build/*/*.d build/bench/peers/*.d build/t/unit/*.d build/asan/*/*.d build/asan/t/unit/*.d)

# ---- one command each ----------------------------------------------------------------------------

export PG_CONFIG MAKE

deps:
	@t/install_deps

# exec: so that a SIGTERM to make reaches the program itself, which cleans up, and not a shell.
# T: what to run, in place of everything: a file, or sql, specs, units, tap, interop, browser.
test: deps
	@exec env T='$(T)' t/run

# The tests that kill things do it many times over.
test-long: deps deps-dev
	@exec env T='$(T)' OUTBOX_TEST_ROUNDS=10 t/run

check-asan: deps
	@exec env T='$(T)' t/run --asan

# Slow, so by hand: the SQL tests, or T=.
check-valgrind: deps
	@exec env T='$(T)' OUTBOX_TEST_ROUNDS=5 t/run --valgrind

# By hand as well: builds a server first. The SQL tests, or T=.
check-cassert: deps
	@exec env T='$(T)' t/cassert

# One whole run of the worker after the other: no error, nothing lost.
check-valgrind-worker: deps
	@exec env T='$(T)' t/run --valgrind-worker

demo: deps
	@exec env KEEP='$(KEEP)' examples/blog/demo

# Everything, on servers of its own: see bench/README.md. PARTS, WAYS, ROUNDS, EVENTS; SHORT=1, QUICK=1.
bench: deps bench-deps
	@exec env KEEP='$(KEEP)' PARTS='$(PARTS)' WAYS='$(WAYS)' ROUNDS='$(ROUNDS)' EVENTS='$(EVENTS)' \
		SHORT='$(SHORT)' QUICK='$(QUICK)' SMOKE='$(SMOKE)' bench/suite

# What only competitors need: without it they are left out.
bench-deps:
	@t/install_deps packages-bench.txt || true

# Where the time goes: the writer's in instructions, by callgrind; the relay's and the worker's by perf.
profile: deps bench-deps
	@exec env KEEP='$(KEEP)' PARTS='recording:profile ways:profile' WAYS='none ours' bench/suite

# PARTS: single, bulk, writers, selective, instructions; without it the first four.
bench-worker: deps
	@exec env KEEP='$(KEEP)' ROUNDS='$(or $(ROUNDS),3)' MEMORY='$(MEMORY)' CLUSTER='$(CLUSTER)' bench/worker

bench-recording: deps
	@exec env KEEP='$(KEEP)' PARTS='$(PARTS)' ROUNDS='$(ROUNDS)' bench/recording

# EVENTS: so many are pending, beside 20,000.
bench-monitoring: deps
	@exec env KEEP='$(KEEP)' EVENTS='$(EVENTS)' ROUNDS='$(ROUNDS)' bench/monitoring

# PARTS: latency, backlog, bodies, through, writers, idle; EVENTS, THROUGH, ROUNDS, QUICK, PROFILE: see
# bench/relay.
bench-relay: deps
	@exec env KEEP='$(KEEP)' PARTS='$(PARTS)' EVENTS='$(EVENTS)' THROUGH='$(THROUGH)' ROUNDS='$(ROUNDS)' \
		QUICK='$(QUICK)' PROFILE='$(PROFILE)' bench/relay

# ---- packages -------------------------------------------------------------------------------------

# What PGXN takes, and the same as tar.gz: of the last commit.
DIST := pg_outbox-$(OUTBOX_RELEASE)
dist:
	@git archive --format=zip --prefix=$(DIST)/ -o $(DIST).zip HEAD
	@git archive --format=tar.gz --prefix=$(DIST)/ -o $(DIST).tar.gz HEAD
	@ls $(DIST).zip $(DIST).tar.gz

deps-dev:
	@t/install_deps packages-dev.txt

# postgresql-NN-pg-outbox and outbox-worker, into build/deb/.
deb: deps deps-dev
	@t/deb build

# As root: built, installed, upgraded and purged in a Debian of its own (SUITE=trixie: Debian 13).
test-deb: deps-dev
	@exec env SUITE='$(SUITE)' t/deb test

# As root: every test on Debian 13. T=, as for test.
test-matrix: deps-dev
	@exec env T='$(T)' SUITE='$(SUITE)' ARCH='$(ARCH)' REDIS_SERVER='$(REDIS_SERVER)' t/matrix

# ---- for developers ------------------------------------------------------------------------------

SERVER_SOURCES := $(wildcard extension/*.c relay/*.c bench/floor/*.c)
PLAIN_SOURCES  := $(WORKER_SOURCES) $(CORE_SOURCES) $(wildcard t/unit/*.c bench/*.c bench/peers/*.c fuzz/*.c model/*.c)
ALL_C          := $(wildcard extension/*.[ch] relay/*.[ch] wire/*.[ch] worker/*.[ch] t/unit/*.[ch] t/preload/*.[ch] \
	bench/*.[ch] bench/floor/*.[ch] bench/peers/*.[ch] fuzz/*.[ch] model/*.[ch])
SERVER_CHECK   := $(PG_CPPFLAGS) $(PG_CFLAGS) -D_GNU_SOURCE -O2

# Every source by both compilers; with -O2, since some warnings come from the optimizer only.
check-warnings:
	@status=0; for compiler in gcc clang; do \
		printf '%s\n' $(SERVER_SOURCES) | xargs -r -n 1 -P "$$(nproc)" \
			$$compiler $(SERVER_CHECK) -Werror -fPIC -c -o /dev/null || status=1; \
		printf '%s\n' $(sort $(PLAIN_SOURCES)) | xargs -r -n 1 -P "$$(nproc)" \
			$$compiler $(WORKER_FLAGS) -O2 -Werror -c -o /dev/null || status=1; \
	done; \
	[ $$status -eq 0 ] && echo 'no warnings'; exit $$status

# Of Debian 12: other versions of clang-format differ in small things.
format: deps-dev
	clang-format -i $(ALL_C)

check-format: deps-dev
	@clang-format --dry-run -Werror $(ALL_C)

# As soon as one of them has something to say, it fails; the others are asked all the same.
lint: deps deps-dev
	@status=0; \
	t/lint_includes || status=1; \
	t/lint_scripts || status=1; \
	cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 \
		--suppress=missingInclude --suppress=missingIncludeSystem --suppress=varFuncNullUB \
		--suppress='memleakOnRealloc:t/unit/*' --suppress=comparePointers:worker/page.c \
		--suppress=internalAstError:wire/url.c -I. $(sort $(PLAIN_SOURCES)) || status=1; \
	printf '%s\n' $(SERVER_SOURCES) | xargs -r -I{} -P "$$(nproc)" \
		clang-tidy --quiet {} -- $(SERVER_CHECK) 2>/dev/null || status=1; \
	printf '%s\n' $(sort $(PLAIN_SOURCES)) | xargs -r -I{} -P "$$(nproc)" \
		clang-tidy --quiet {} -- $(WORKER_FLAGS) 2>/dev/null || status=1; \
	exit $$status

# For clangd and other tools that want to know how each file is compiled.
compile_commands.json: Makefile
	@{ \
		separator='['; \
		entry() { printf '%s\n{"directory": "%s", "file": "%s", "command": "%s"}' "$$separator" '$(CURDIR)' "$$1" \
			"$$(printf '%s' "$$2 -c $$1" | sed 's/[\\"]/\\&/g')"; separator=','; }; \
		for source in $(SERVER_SOURCES); do entry $$source "cc $(subst ",\",$(SERVER_CHECK))"; done; \
		for source in $(PLAIN_SOURCES); do entry $$source "cc $(subst ",\",$(WORKER_FLAGS))"; done; \
		printf '\n]\n'; \
	} > $@

help:
	@printf '%s\n' \
		'make                 build pg_outbox.so and worker/outbox-worker (PG_CONFIG= picks the server)' \
		'make deps            install the Debian packages of packages.txt that are missing' \
		'sudo make install    install the extension, the worker into BINDIR ($(BINDIR)), manual pages into MANDIR' \
		'make man             the manual pages, in build/man/' \
		'make demo            the whole pipeline, shown on a blog (KEEP=1 leaves it running)' \
		'make test            every test on private servers (T=t/020_broker_away.pl: this one;' \
		'                     T=sql, specs, units, tap, interop or browser: these; KEEP=1 keeps the folder)' \
		'make test-long       the same, with many rounds of the tests that kill things' \
		'make check-model     the protocol searched state by state, and with each rule taken out' \
		'make check-asan      unit tests and worker under address and undefined-behaviour sanitizers' \
		'make check-valgrind  the SQL tests, with the server under memcheck (needs valgrind)' \
		'make check-cassert   the SQL tests on a server with assertions that discards its caches (half an hour)' \
		'make check-valgrind-worker   the worker under memcheck, in tests that strain it' \
		'make installcheck    pg_regress and isolation tests against a running server' \
		'make fuzz            libFuzzer for FUZZ_SECONDS (60) with each parser of what others write' \
		'make bench           every measurement beside every competitor; JSON lines go to bench/results/' \
		'                     (PARTS=ways, ROUNDS=3, SHORT=1: 20 minutes, QUICK=1: three; bench/README.md)' \
		'make profile         where writer, relay and worker spend their time (callgrind, perf)' \
		'make bench-worker    how fast the worker is, beside what is possible and what is usual' \
		'make bench-recording what recording costs the writer (PARTS=single, bulk, writers, ...: these)' \
		'make bench-monitoring   what reading the monitoring views costs (EVENTS=10000000: so many pending)' \
		'make bench-relay     how fast the relay is and what it costs (PARTS=latency, backlog, ...; QUICK=1)' \
		'make dist            pg_outbox-$(OUTBOX_RELEASE).zip, as PGXN takes it, and .tar.gz, of the last commit' \
		'make deb             the Debian packages, into build/deb/' \
		'sudo make test-deb   builds, installs, upgrades and purges them in a Debian of its own' \
		'sudo make test-matrix   every test on Debian 13: PostgreSQL 17, RabbitMQ 4, Redis 8, Valkey' \
		'make check-warnings  every source with gcc and clang, -Wall -Wextra -Werror' \
		'make lint            includes, cppcheck, clang-tidy, shellcheck, perlcritic' \
		'make format          clang-format (check-format: whether it would change anything)' \
		'make compile_commands.json   for clangd' \
		'make clean           remove what was built'

.PHONY: install-worker man install-man installcheck-databases units build-asan bench-programs deps test test-long check-asan \
	check-model check-valgrind check-valgrind-worker check-cassert demo \
	bench bench-deps profile bench-worker bench-recording bench-monitoring bench-relay fuzz check-warnings format check-format lint \
	help dist deps-dev deb test-deb test-matrix
