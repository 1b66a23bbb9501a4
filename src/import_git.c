/*
 * import_git.c: a git repository as the source of an import: each commit of the first-parent history of HEAD, oldest first, becomes one
 * commit. The git program reads the repository: `git fast-export --no-data` tells what each commit changes (the format is
 * git-fast-import(1)'s), `git cat-file --batch` gives the contents. Renames come as removals and new files. Running git is
 * import_git_run.c's business.
 */
#include "import_git.h"
#include "import_spool.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { MEMORY_MAX = 1 << 20, MESSAGE_MAX = 1 << 16, NS = 1000000000 };

struct history {
    struct stm_import *im;
    struct stm_git_process export, cat;
    char *line; /* of export's output, without its newline */
    size_t line_cap;
    bool again; /* the line is to be read once more */
    /* the commit at hand */
    bool begun, present; /* begun in the sink; the target has it */
    char id[101];
    char *author;
    int64_t when_ns;
    struct stm_buf message, path, data;
    struct stm_spool spool;
    uint64_t submodules;
};

/* ---- fast-export's lines ---- */

/* 1 and h->line, 0 at the end. */
static int next_line(struct history *h)
{
    if (!h->again) {
        ssize_t n = getline(&h->line, &h->line_cap, h->export.out);
        if (n < 0)
            return ferror(h->export.out) ? -EREMOTEIO : 0;
        if (h->line[n - 1] == '\n')
            h->line[n - 1] = 0;
    }
    h->again = false;
    return 1;
}

static const char *after(const char *line, const char *word)
{
    size_t n = strlen(word);

    return strncmp(line, word, n) == 0 ? line + n : NULL;
}

/* "data N" and N bytes: the message, of which no more than MESSAGE_MAX bytes are kept. */
static int read_message(struct history *h, const char *count)
{
    uint64_t n = strtoull(count, NULL, 10);
    char waste[4096];
    size_t keep = n < MESSAGE_MAX ? (size_t)n : MESSAGE_MAX;

    stm_buf_clear(&h->message);
    int err = stm_buf_resize(&h->message, keep);
    if (err == 0 && keep && fread(h->message.data, 1, keep, h->export.out) != keep)
        err = -EREMOTEIO;
    for (n -= keep; err == 0 && n > 0;) {
        size_t part = n < sizeof waste ? (size_t)n : sizeof waste;
        err = fread(waste, 1, part, h->export.out) == part ? 0 : -EREMOTEIO;
        n -= part;
    }
    while (err == 0 && h->message.len && h->message.data[h->message.len - 1] == '\n')
        h->message.len--;
    for (size_t i = 0; err == 0 && i < h->message.len; i++)
        if (h->message.data[i] == 0)
            h->message.data[i] = ' ';
    return err < 0 ? err : stm_buf_append(&h->message, "", 1);
}

/* "Name <mail> SECONDS ZONE" */
static int read_author(struct history *h, const char *text)
{
    const char *mail_end = strrchr(text, '>');
    size_t len = mail_end ? (size_t)(mail_end + 1 - text) : 0;
    intmax_t seconds = mail_end ? strtoimax(mail_end + 1, NULL, 10) : 0;

    free(h->author);
    while (len && *text == ' ')
        text++, len--;
    h->author = strndup(text, len);
    if (seconds > INT64_MAX / NS - 1)
        seconds = INT64_MAX / NS - 1;
    if (seconds < INT64_MIN / NS + 1)
        seconds = INT64_MIN / NS + 1;
    h->when_ns = (int64_t)seconds * NS;
    if (h->when_ns == 0)
        h->when_ns = 1; /* 0 would mean "now" */
    return h->author ? 0 : -ENOMEM;
}

/* One character of a quoted path after its backslash. */
static char unescape(const char **p)
{
    static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
    const char *at = strchr(from, **p);

    if (**p >= '0' && **p <= '3' && (*p)[1] && (*p)[2]) {
        char c = (char)(((*p)[0] - '0') * 64 + ((*p)[1] - '0') * 8 + ((*p)[2] - '0'));
        *p += 3;
        return c;
    }
    char c = **p && at ? to[at - from] : **p;
    *p += **p != 0;
    return c;
}

/* A path, which is in quotes when it holds something unusual. */
static int read_path(struct history *h, const char *text)
{
    int err = 0;

    stm_buf_clear(&h->path);
    if (*text != '"')
        return stm_buf_append(&h->path, text, strlen(text));
    for (text++; err == 0 && *text && *text != '"';) {
        char c = *text++;
        if (c == '\\')
            c = unescape(&text);
        err = stm_buf_append(&h->path, &c, 1);
    }
    return err;
}

/* ---- changes ---- */

static int begin(struct history *h)
{
    struct stm_bulk_commit c = {.id = stm_slice_str(h->id),
                                .author = h->author,
                                .effective_ns = h->when_ns,
                                .message = h->message.len > 1 ? (const char *)h->message.data : NULL};

    if (h->begun)
        return 0;
    int r = h->im->sink.begin(h->im->sink.arg, &c);
    if (r < 0)
        return r;
    h->begun = true;
    h->present = r == 1;
    return 0;
}

static int put(struct history *h, struct stm_bulk_item *item)
{
    item->path = stm_buf_slice(&h->path);
    item->attr.valid |= STM_SET_MTIME | STM_SET_ATIME;
    item->attr.mtime_ns = item->attr.atime_ns = h->when_ns;
    int err = stm_import_put(h->im, item, NULL);
    return err < 0 ? err : 0;
}

static int put_removal(struct history *h)
{
    return put(h, &(struct stm_bulk_item){.kind = STM_BULK_REMOVE});
}

static int read_blob(void *arg, void *buf, size_t len)
{
    struct history *h = arg;

    return fread(buf, 1, len, h->cat.out) == len ? 0 : -EREMOTEIO;
}

/* Asks for a blob; then h->cat.out stands at its first byte. */
static int open_blob(struct history *h, const char *id, uint64_t *ret_size)
{
    char *reply = NULL;
    size_t cap = 0;
    char type[16];
    int err = fprintf(h->cat.in, "%s\n", id) < 0 || fflush(h->cat.in) != 0 || getline(&reply, &cap, h->cat.out) < 0 ? -EREMOTEIO : 0;

    if (err == 0 && (sscanf(reply, "%*s %15s %" SCNu64, type, ret_size) != 2 || strcmp(type, "blob") != 0))
        err = -EREMOTEIO; /* "ID missing": the repository is damaged, or a partial clone out of reach */
    free(reply);
    return err;
}

static int put_symlink(struct history *h, uint64_t size)
{
    struct stm_bulk_item item = {.kind = STM_BULK_SYMLINK};
    char target[STM_TARGET_MAX + 1];
    size_t len = size < sizeof target ? (size_t)size : sizeof target;
    int err = read_blob(h, target, len);

    for (uint64_t n = len; err == 0 && n < size; n++)
        err = fgetc(h->cat.out) == EOF ? -EREMOTEIO : 0;
    item.target = stm_slice(target, len);
    return err < 0 ? err : put(h, &item);
}

static int put_file(struct history *h, uint32_t mode, uint64_t size)
{
    struct stm_source source = {.size = size, .read = stm_spool_read, .arg = &h->spool};
    struct stm_bulk_item item = {.kind = STM_BULK_FILE, .source = &source, .attr = {.valid = STM_SET_MODE, .mode = mode}};
    int err;

    if (size > MEMORY_MAX) {
        err = stm_spool_fill(&h->spool, size, read_blob, h);
    } else {
        stm_buf_clear(&h->data);
        err = stm_buf_reserve(&h->data, (size_t)size + 1);
        if (err == 0)
            err = read_blob(h, h->data.data, (size_t)size);
        source.mem = h->data.data;
    }
    return err < 0 ? err : put(h, &item);
}

/* "MODE ID PATH" */
static int put_change(struct history *h, const char *text)
{
    char id[101];
    unsigned mode;
    int used = 0;
    uint64_t size;

    if (sscanf(text, "%o %100s%n", &mode, id, &used) != 2 || text[used] != ' ')
        return -EREMOTEIO;
    int err = read_path(h, text + used + 1);
    if (err < 0)
        return err;
    if (mode == 0160000) { /* a submodule: what was there before is gone */
        h->submodules++;
        return put_removal(h);
    }
    err = open_blob(h, id, &size);
    if (err == 0)
        err = S_ISLNK(mode) ? put_symlink(h, size) : S_ISREG(mode) ? put_file(h, mode & 0777, size) : -EREMOTEIO;
    if (err == 0 && fgetc(h->cat.out) != '\n')
        err = -EREMOTEIO;
    return err;
}

/* The lines of one commit after "commit REF", up to the next one. */
static int read_commit(struct history *h)
{
    const char *rest;
    int err = 0, more;

    while (err == 0 && (more = next_line(h)) != 0) {
        if (more < 0)
            return more;
        if (after(h->line, "commit ") || after(h->line, "reset ") || after(h->line, "done")) {
            h->again = true;
            break;
        }
        if ((rest = after(h->line, "original-oid ")))
            snprintf(h->id, sizeof h->id, "%.100s", rest);
        else if ((rest = after(h->line, "author ")))
            err = read_author(h, rest);
        else if ((rest = after(h->line, "data ")))
            err = read_message(h, rest);
        else if ((rest = after(h->line, "M ")) || (rest = after(h->line, "D "))) {
            err = begin(h);
            if (err == 0 && !h->present)
                err = h->line[0] == 'M' ? put_change(h, rest) : read_path(h, rest);
            if (err == 0 && !h->present && h->line[0] == 'D')
                err = put_removal(h);
        } else if (after(h->line, "deleteall") || after(h->line, "R ") || after(h->line, "C "))
            err = -EREMOTEIO; /* git was not asked for these */
    }
    return err;
}

static int put_history(struct history *h)
{
    int err = 0, more;

    while (err == 0 && (more = next_line(h)) != 0) {
        if (more < 0)
            return more;
        if (!after(h->line, "commit "))
            continue;
        h->begun = h->present = false;
        h->id[0] = 0;
        h->when_ns = 1;
        stm_buf_clear(&h->message);
        err = read_commit(h);
        if (err == 0)
            err = begin(h); /* a commit without changes */
        if (err == 0)
            err = h->im->sink.commit(h->im->sink.arg);
        h->im->done++;
        stm_import_progress(h->im);
    }
    return err;
}

/* ---- the repository ---- */

/* Is repo the top of a repository that has commits? An exit code. */
static int check_repo(struct stm_import *im, const char *repo)
{
    char *prefix = NULL, *head = NULL, *count = NULL, *why = NULL;
    int code = STM_EXIT_OK;

    if (stm_git_ask(repo, (const char *const[]){"rev-parse", "--show-prefix", NULL}, &prefix, &why) != 0)
        code = stm_out_fail(im->out, STM_EXIT_INPUT, "'%s' is not a git repository that can be read: %s", repo, why);
    else if (*prefix)
        code =
            stm_out_fail(im->out, STM_EXIT_INPUT, "'%s' lies inside a git repository ('%s' of it): give its top directory", repo, prefix);
    else if (stm_git_ask(repo, (const char *const[]){"rev-parse", "--verify", "--quiet", "HEAD^{commit}", NULL}, &head, &why) != 0)
        code = stm_out_fail(im->out, STM_EXIT_INPUT, "the git repository '%s' has no commits yet: there is nothing to import", repo);
    else if (stm_git_ask(repo, (const char *const[]){"rev-list", "--first-parent", "--count", "HEAD", NULL}, &count, &why) != 0)
        code = stm_out_fail(im->out, STM_EXIT_INPUT, "cannot read the history of '%s': %s", repo, why);
    else
        im->total = strtoull(count, NULL, 10);
    free(prefix);
    free(head);
    free(count);
    free(why);
    return code;
}

static int start(struct history *h, const char *repo)
{
    static const char *const export[] = {
        "fast-export", "--no-data", "--show-original-ids", "--reencode=yes", "--signed-tags=strip", "--first-parent", "HEAD", NULL};
    static const char *const cat[] = {"cat-file", "--batch", NULL};
    int err = stm_git_start(repo, export, &h->export);

    if (err == 0)
        err = stm_git_start(repo, cat, &h->cat);
    return err;
}

static int import_repo(struct stm_import *im, const char *repo)
{
    struct history h = {.im = im, .spool = {.dir = im->sink.spool}};
    int code = check_repo(im, repo);

    if (code != STM_EXIT_OK)
        return code;
    int err = start(&h, repo);
    if (err == 0)
        err = put_history(&h);
    int cat = stm_git_end(&h.cat), export = stm_git_end(&h.export);
    if (err == 0 && (cat != 0 || export != 0))
        err = -EREMOTEIO;
    if (err == -EREMOTEIO) { /* git's, not the store's */
        stm_import_progress_end(im);
        code = stm_out_fail(im->out, STM_EXIT_INPUT,
                            "git could not read all of '%s': check it with 'git -C %s fsck'; the commits before are imported", repo, repo);
    } else {
        code = stm_import_end(im, err, repo, STM_EXIT_OK);
    }
    if (h.submodules && im->finished)
        (void)stm_out_fail(im->out, 0, "%" PRIu64 " changes of submodules were left out: their contents are not in this repository",
                           h.submodules);
    free(h.line);
    free(h.author);
    stm_buf_release(&h.message);
    stm_buf_release(&h.path);
    stm_buf_release(&h.data);
    stm_spool_release(&h.spool);
    return code;
}

int stm_import_git(struct stm_import *im, const char *repo)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

    sigaction(SIGPIPE, &ignore, &before); /* a git that dies is an error, not our end */
    int code = import_repo(im, repo);
    sigaction(SIGPIPE, &before, NULL);
    return code;
}
