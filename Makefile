# pg_outbox: `make`, `make test`, `make demo`; `make help` lists the rest.

PG_CONFIG ?= pg_config
BINDIR    ?= /usr/local/bin
VERSION   := 1.0

# ---- the extension: PGXS ------------------------------------------------------------------------

WIRE_SOURCES  := $(wildcard wire/*.c)
MODULE_big    := pg_outbox
OBJS          := $(patsubst %.c,%.o,$(wildcard extension/*.c relay/*.c) $(WIRE_SOURCES))
EXTENSION     := pg_outbox
DATA          := extension/pg_outbox--$(VERSION).sql
SHLIB_LINK    := -lrabbitmq -Wl,--version-script=extension/exports.map
EXTRA_CLEAN   := build worker/outbox-worker

# The server's headers are not ours to warn about; its flags forbid declarations after statements.
# The library has hidden visibility but for what exports.map names.
PG_CPPFLAGS   := -I$(CURDIR) -isystem $(shell $(PG_CONFIG) --includedir-server) -DOUTBOX_VERSION='"$(VERSION)"'
PG_CFLAGS     := -std=gnu11 -Wall -Wextra -Wno-declaration-after-statement -Wno-unused-parameter -Wno-sign-compare -fvisibility=hidden

with_llvm     := no
override with_llvm := no
PGXS          := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# ---- the worker: plain rules --------------------------------------------------------------------

WORKER_CFLAGS  ?= -O2 -g
WORKER_CC      ?= $(CC)
WORKER_FLAGS   := -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Wshadow -Wformat-security \
	-fstack-protector-strong -I$(CURDIR) -I$(shell $(PG_CONFIG) --includedir) -DOUTBOX_VERSION='"$(VERSION)"'
WORKER_LIBS    := -lrabbitmq -lhiredis -ljansson -lpq
WORKER_SOURCES := $(wildcard worker/*.c) $(WIRE_SOURCES)
WORKER_OBJS    := $(patsubst %.c,build/%.o,$(WORKER_SOURCES))

all: worker/outbox-worker

worker/outbox-worker: $(WORKER_OBJS)
	$(WORKER_CC) $(WORKER_CFLAGS) -o $@ $^ $(WORKER_LIBS)

build/%.o: %.c
	@mkdir -p $(@D)
	$(WORKER_CC) $(WORKER_FLAGS) $(WORKER_CFLAGS) -MMD -MP -c -o $@ $<

-include $(WORKER_OBJS:.o=.d)

install: install-worker
install-worker: worker/outbox-worker
	mkdir -p '$(DESTDIR)$(BINDIR)'
	install -m 755 worker/outbox-worker '$(DESTDIR)$(BINDIR)/outbox-worker'

.PHONY: install-worker
