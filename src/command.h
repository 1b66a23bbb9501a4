/*
 * command.h: what a subcommand is: its options as a table, its help, and the function that runs it.
 * Thread-safety: immutable.
 */
#ifndef STEMMA_COMMAND_H
#define STEMMA_COMMAND_H

#include "params.h"

/* The options of all commands; each command's table fills some. */
struct stm_args {
    bool help, json, foreground, lazy, repair, dry_run, quick;
    struct stm_buf mount_options; /* every -o, joined by commas; zero-terminated when not empty */
    const char *dictd, *git, *binary;
    int operands;
    char **operand; /* `operands` of them */
};

struct stm_command {
    const char *name;
    const char *operands; /* for the usage line */
    const char *summary;  /* one line, no full stop */
    const char *text;     /* paragraphs for --help */
    const char *examples; /* lines for --help */
    const struct stm_param *options;
    const struct stm_param *more;            /* a second table to show in --help (mount options), or NULL */
    int min, max;                            /* operands; max < 0: any number */
    int (*run)(const struct stm_args *args); /* returns an exit code */
};

extern const struct stm_command stm_cmd_init, stm_cmd_mount, stm_cmd_umount, stm_cmd_status, stm_cmd_log, stm_cmd_show, stm_cmd_restore,
    stm_cmd_import, stm_cmd_upgrade, stm_cmd_fsck;

#define STM_OPTION_HELP                                                                                                                    \
    {                                                                                                                                      \
        "help", STM_PARAM_FLAG, .letter = 'h', .value = true, .offset = offsetof(struct stm_args, help), .text = "this text"               \
    }
#define STM_OPTION_JSON(what)                                                                                                              \
    {                                                                                                                                      \
        "json", STM_PARAM_FLAG, .value = true, .offset = offsetof(struct stm_args, json), .text = what                                     \
    }
#define STM_OPTION_END                                                                                                                     \
    {                                                                                                                                      \
        .type = STM_PARAM_END                                                                                                              \
    }

/* The whole program: picks the command (or mount(8)'s helper by argv[0]), parses, runs; returns the exit code. */
int stm_main(int argc, char **argv);

/* mount(8) helpers (mount_helper.c). */
int stm_mount_helper(int argc, char **argv);
int stm_umount_helper(int argc, char **argv);

#endif
