/*
 * commands.c: picks a command, parses its options by its table, prints help. Not here: what a command does (cmd_*.c), and mount
 * options (options.c).
 */
#include "command.h"

#include "exit.h"
#include "out.h"
#include "process.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct stm_command *const commands[] = {
    &stm_cmd_init, &stm_cmd_mount,   &stm_cmd_umount, &stm_cmd_status,  &stm_cmd_log,
    &stm_cmd_show, &stm_cmd_restore, &stm_cmd_import, &stm_cmd_upgrade, &stm_cmd_fsck,
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]), OPTIONS_MAX = 16 };

static int usage_error(struct stm_out *out, const char *command, const char *what, const char *name)
{
    const char *quote = *name != '\0' ? "'" : "";

    return stm_out_fail(out, STM_EXIT_USAGE, "%s%s%s%s%s: see 'stemma%s%s --help'", what, *name != '\0' ? " " : "", quote, name, quote,
                        command != NULL ? " " : "", command != NULL ? command : "");
}

static int print_overview(struct stm_out *out)
{
    stm_out_print(out, "Stemma is a filesystem that keeps every version of every file.\n\n"
                       "usage: stemma COMMAND [OPTIONS] OPERANDS\n\n");
    for (int i = 0; i < COMMANDS; i++)
        stm_out_print(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    stm_out_print(out, "\n"
                       "'stemma COMMAND --help' explains one of them. 'stemma --version' says which this is.\n"
                       "PATH and TARGET are paths inside a mount, or STORE:/path for a store's directory.\n\n"
                       "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such file or version, 4 unusable store, 5 busy or locked,\n"
                       "6 the data to be imported is wrong.\n");
    return STM_EXIT_OK;
}

static int print_help(struct stm_out *out, const struct stm_command *c)
{
    struct stm_buf text = STM_BUF_INIT;
    int err = stm_buf_printf(&text, "usage: stemma %s %s\n\n", c->name, c->operands);

    if (err == 0)
        err = stm_wrap(c->text, 0, 0, &text);
    if (err == 0)
        err = stm_buf_printf(&text, "\nOptions:\n");
    if (err == 0)
        err = stm_params_help(c->options, true, &text);
    if (err == 0 && c->more != NULL)
        err = stm_buf_printf(&text, "\nMount options (-o NAME,NAME=VALUE):\n");
    if (err == 0 && c->more != NULL)
        err = stm_params_help(c->more, false, &text);
    if (err == 0)
        err = stm_buf_printf(&text, "\nExamples:\n%s", c->examples);
    if (err == 0)
        stm_out_write(out, text.data, text.len);
    stm_buf_release(&text);
    return err < 0 ? stm_out_error(out, err, "help") : STM_EXIT_OK;
}

/* ---- parsing by table ---- */

/* What getopt_long wants, made from the table; letters has room for two bytes and a zero an option. */
static void make_getopt(const struct stm_param *table, struct option *longs, char *letters)
{
    int n = 0;

    *letters++ = ':';
    for (; table[n].type != STM_PARAM_END; n++) {
        bool value = table[n].type != STM_PARAM_FLAG;

        longs[n] = (struct option){table[n].name, value ? required_argument : no_argument, NULL, n + 256};
        if (table[n].letter == 0)
            continue;
        *letters++ = table[n].letter;
        if (value)
            *letters++ = ':';
    }
    longs[n] = (struct option){0};
    *letters = '\0';
}

static int set_option(const struct stm_param *p, const char *value, struct stm_args *args)
{
    char *at = (char *)args + p->offset;
    struct stm_buf *list;

    switch (p->type) {
    case STM_PARAM_FLAG:
        *(bool *)at = p->value;
        return 0;
    case STM_PARAM_TEXT:
        *(const char **)at = value;
        return 0;
    default:
        list = (struct stm_buf *)at;
        return stm_buf_printf(list, "%s%s", list->len > 0 ? "," : "", value);
    }
}

static const struct stm_param *param_of(const struct stm_param *table, int key)
{
    if (key >= 256)
        return &table[key - 256];
    for (; table->type != STM_PARAM_END; table++) {
        if (table->letter == key)
            return table;
    }
    return NULL;
}

/* The option that getopt stumbled over, as it was written. */
static const char *culprit(char **argv, char *letter)
{
    const char *word = argv[optind - 1];

    if (optopt == 0 || optopt >= 256)
        return word;
    letter[0] = '-';
    letter[1] = (char)optopt;
    letter[2] = '\0';
    return letter;
}

static int parse(const struct stm_command *c, int argc, char **argv, struct stm_args *args, struct stm_out *out)
{
    struct option longs[OPTIONS_MAX + 1];
    char letters[2 * OPTIONS_MAX + 2], letter[3];
    int key;

    make_getopt(c->options, longs, letters);
    opterr = 0;
    optind = 1;
    while ((key = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const struct stm_param *p;

        if (key == '?')
            return usage_error(out, c->name, "there is no option", culprit(argv, letter));
        if (key == ':')
            return usage_error(out, c->name, "a value is missing after option", culprit(argv, letter));
        p = param_of(c->options, key);
        if (p == NULL || set_option(p, optarg, args) < 0)
            return stm_out_fail(out, STM_EXIT_FAILED, "out of memory");
    }
    args->operands = argc - optind;
    args->operand = argv + optind;
    if (args->help)
        return 0;
    if (args->operands < c->min)
        return stm_out_fail(out, STM_EXIT_USAGE, "something is missing: usage: stemma %s %s (see 'stemma %s --help')", c->name, c->operands,
                            c->name);
    if (c->max >= 0 && args->operands > c->max)
        return usage_error(out, c->name, "one operand too many:", args->operand[c->max]);
    return 0;
}

static int run_command(const struct stm_command *c, int argc, char **argv, struct stm_out *out)
{
    struct stm_args args = {0};
    int code = parse(c, argc, argv, &args, out);

    if (code == 0)
        code = args.help ? print_help(out, c) : c->run(&args);
    stm_buf_release(&args.mount_options);
    return code;
}

static const struct stm_command *find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    }
    return NULL;
}

static int dispatch(int argc, char **argv, struct stm_out *out)
{
    const char *word = argc > 1 ? argv[1] : "";
    const struct stm_command *c;

    if (strcmp(word, "--version") == 0) {
        stm_out_print(out, "stemma %s\n", STEMMA_VERSION);
        return STM_EXIT_OK;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return print_overview(out);
    if (strcmp(word, "help") == 0 && argc == 2)
        return print_overview(out);
    if (strcmp(word, "help") == 0) {
        c = find(argv[2]);
        return c != NULL ? print_help(out, c) : usage_error(out, NULL, "there is no command", argv[2]);
    }
    if (stm_process_is(word))
        return stm_process_run(argc, argv);
    if (*word == '\0')
        return usage_error(out, NULL, "a command is missing", "");
    if (*word == '-')
        return usage_error(out, NULL, "there is no option", word);
    c = find(word);
    return c != NULL ? run_command(c, argc - 1, argv + 1, out) : usage_error(out, NULL, "there is no command", word);
}

int stm_main(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *base = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "";
    struct stm_out out = stm_out_terminal();
    int code;

    if (strncmp(base, "mount.", 6) == 0)
        return stm_mount_helper(argc, argv);
    if (strncmp(base, "umount.", 7) == 0)
        return stm_umount_helper(argc, argv);
    code = dispatch(argc, argv, &out);
    return stm_out_end(&out, code);
}
