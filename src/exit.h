/*
 * exit.h: the exit codes of the command, which scripts may rely on. mount.stemma and umount.stemma have mount(8)'s instead.
 * Thread-safety: immutable.
 */
#ifndef STEMMA_EXIT_H
#define STEMMA_EXIT_H

enum stm_exit {
    STM_EXIT_OK = 0,
    STM_EXIT_FAILED = 1,    /* tried and failed: I/O, permissions, no space */
    STM_EXIT_USAGE = 2,     /* options or operands make no sense */
    STM_EXIT_NOT_FOUND = 3, /* no such object or version */
    STM_EXIT_STORE = 4,     /* the store is unusable: not one, damaged, of a newer format */
    STM_EXIT_BUSY = 5,      /* somebody else has it: store, mount point, files in use */
    STM_EXIT_INPUT = 6      /* the data to be imported is wrong */
};

/* Bits of mount(8)'s helpers. */
enum stm_mount_exit { STM_MOUNT_EXIT_USAGE = 1, STM_MOUNT_EXIT_SYSTEM = 2, STM_MOUNT_EXIT_FAILED = 32 };

/* The code for an error value of the store (error.h). */
int stm_exit_of(int err);

#endif
