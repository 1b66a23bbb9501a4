/*
 * mount_helper.c: the program as mount(8)'s helper mount.stemma and umount(8)'s umount.stemma: their arguments and their exit codes. The
 * deeds are cmd_mount.c's and cmd_umount.c's.
 */
#include "command.h"
#include "exit.h"
#include "mounting.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct helper {
    bool fake, sloppy, lazy, help;
    const char *mount_namespace;
    struct stm_buf options;
};

static int bad_usage(struct stm_out *out, const char *usage)
{
    return stm_out_fail(out, STM_MOUNT_EXIT_USAGE, "usage: %s", usage);
}

/* mount(8) puts the options after the operands; getopt finds them there. */
static int parse(int argc, char **argv, const char *letters, struct helper *h)
{
    int letter;

    opterr = 0;
    while ((letter = getopt(argc, argv, letters)) != -1) {
        switch (letter) {
        case 'f':
            h->fake = true;
            break;
        case 's':
            h->sloppy = true;
            break;
        case 'l':
            h->lazy = true;
            break;
        case 'h':
            h->help = true;
            break;
        case 'N':
            h->mount_namespace = optarg;
            break;
        case 'o':
            if (stm_buf_printf(&h->options, "%s%s", h->options.len > 0 ? "," : "", optarg) < 0)
                return -ENOMEM;
            break;
        case '?':
            return -EINVAL;
        default: /* -v, -n, -r, -t TYPE: nothing to do */
            break;
        }
    }
    return 0;
}

static int enter_namespace(const char *path, struct stm_out *out)
{
    int fd, err = 0;

    if (path == NULL)
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
        err = stm_out_fail(out, STM_MOUNT_EXIT_SYSTEM, "mount namespace %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return err;
}

static int mount_code(int code)
{
    return code == 0 ? 0 : code == STM_EXIT_USAGE ? STM_MOUNT_EXIT_USAGE : STM_MOUNT_EXIT_FAILED;
}

static int mount_with(const struct helper *h, char **operand, struct stm_out *out)
{
    struct stm_mount_options o;
    char *why = NULL;
    int code;

    stm_mount_options_default(&o);
    code = h->options.len == 0 ? 0 : stm_mount_options_parse((const char *)h->options.data, h->sloppy, &o, &why);
    if (code != 0)
        (void)stm_out_fail(out, code, "%s", why != NULL ? why : "out of memory");
    free(why);
    if (code != 0 || h->fake)
        return mount_code(code);
    code = enter_namespace(h->mount_namespace, out);
    return code != 0 ? code : mount_code(stm_mount_start(operand[0], operand[1], &o, false));
}

int stm_mount_helper(int argc, char **argv)
{
    static const char usage[] = "mount.stemma STORE DIR [-fnsv] [-N NAMESPACE] [-o OPTIONS]";
    struct stm_out out = stm_out_terminal();
    struct helper h = {0};
    int code;

    if (parse(argc, argv, "fsvnhN:o:t:", &h) < 0 || (!h.help && argc - optind != 2)) {
        code = bad_usage(&out, usage);
    } else if (h.help) {
        stm_out_print(&out, "usage: %s\nThe options are those of 'stemma mount --help'.\n", usage);
        code = 0;
    } else {
        code = mount_with(&h, argv + optind, &out);
    }
    stm_buf_release(&h.options);
    (void)stm_out_release(&out);
    return code;
}

int stm_umount_helper(int argc, char **argv)
{
    static const char usage[] = "umount.stemma DIR [-flnrv] [-N NAMESPACE]";
    struct stm_out out = stm_out_terminal();
    struct helper h = {0};
    int code;

    if (parse(argc, argv, "flnrvhN:t:", &h) < 0 || (!h.help && argc - optind != 1)) {
        code = bad_usage(&out, usage);
    } else if (h.help) {
        stm_out_print(&out, "usage: %s\nIt returns when everything is safe.\n", usage);
        code = 0;
    } else {
        code = enter_namespace(h.mount_namespace, &out);
        if (code == 0)
            code = mount_code(stm_umount(argv[optind], h.lazy, &out));
    }
    (void)stm_out_release(&out);
    return code;
}
