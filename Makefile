# A short way to type what script/ and CMake do; nothing is decided here.
#
# make             build build/release/src/stemma
# make run         from nothing to a mounted store with texts in it
# make check       everything that must pass; make test is a part of it
# make asan        every test under ASan and UBSan; make tsan: under TSan
# make valgrind    every unit test that can be, under valgrind
# make fuzz        the fuzz targets for FUZZ_SECONDS each (30)
# make soak        ten minutes of mixed work, memory and descriptors watched
# make torture     everything in its long form: hours
# make bench       compare a mount with bindfs and ext4
# make install     as root, below PREFIX (/usr/local); mount helpers go to /sbin
# make format      clang-format on everything
# make clean       remove build/; ./var and ./mnt stay
PREFIX ?= /usr/local

all:            ; @script/build release
run:            ; @script/run
check:          ; @script/check
test:           ; @script/check unit
asan:           ; @script/check --full asan
tsan:           ; @script/check --full tsan
valgrind:       ; @script/install-deps --test && script/build dev && script/valgrind --all
fuzz:           ; @script/install-deps --test && script/build fuzz && script/fuzz
soak:           ; @script/check soak
torture:        ; @script/check --torture
bench: all      ; @script/install-deps --bench && integration/bench/run
format:         ; @find store fs src tests fuzz -name '*.[ch]' -exec clang-format -i {} +
install:        ; @cmake --preset release -D CMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null && script/build release && cmake --install build/release
clean:          ; @rm -rf build
help:           ; @sed -n 's/^# make/make/p' Makefile

.PHONY: all run check test asan tsan valgrind fuzz soak torture bench format install clean help
