/*
 * recover.c: see recover.h. The engine refuses damage inside its log, but takes damage at the very end of a log file for the torn tail that
 * a power cut leaves. So what it brings back is checked: against the watermark (are the newest commits there?), and for holes in the
 * commit log (a log file that is not the last one may have lost its end). And what it refuses is looked at: damage in what was never
 * flushed is the power cut's too.
 */
#include "recover.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stemma/view.h"
#include "txn.h"

enum { COMMIT_BYTES = 100, LOOK_BACK = 256 }; /* a commit is never smaller in the engine's log; how many are looked at in any case */

static void say(char **ret_why, char *text)
{
    if (ret_why && !*ret_why)
        *ret_why = text;
    else
        free(text);
}

/* ---- the engine ---- */

typedef void log_visitor(int dir, const char *name, void *arg);

/* Calls visit for each log file of the engine. */
static void each_log(const struct stm_store *s, log_visitor *visit, void *arg)
{
    char *path;
    const struct dirent *e;
    DIR *d = NULL;

    if (asprintf(&path, "%s/db", s->path) >= 0) {
        d = opendir(path);
        free(path);
    }
    while (d && (e = readdir(d))) {
        size_t len = strlen(e->d_name);
        if (len > 4 && strcmp(e->d_name + len - 4, ".log") == 0)
            visit(dirfd(d), e->d_name, arg);
    }
    if (d)
        closedir(d);
}

static void add_size(int dir, const char *name, void *arg)
{
    uint64_t *sum = arg;
    struct stat st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        *sum += (uint64_t)st.st_size;
}

static uint64_t log_bytes(const struct stm_store *s)
{
    uint64_t sum = 0;

    if (s->path[0])
        each_log(s, add_size, &sum);
    return sum;
}

/* A second name in `damaged`, whose descriptor arg points to: the engine deletes its own. */
static void keep_log(int dir, const char *name, void *arg)
{
    (void)!linkat(dir, name, *(const int *)arg, name, 0);
}

static void keep_logs(const struct stm_store *s)
{
    int store = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), kept = -1;

    if (store >= 0) {
        (void)mkdirat(store, "damaged", 0700);
        kept = openat(store, "damaged", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(store);
    }
    if (kept < 0)
        return;
    each_log(s, keep_log, &kept);
    close(kept);
}

/* Going back to the last whole commit helps where a log is damaged. Of other damage the engine names the file. */
static bool is_in_log(const char *said)
{
    static const char *const others[] = {".sst", ".ldb", "CURRENT", "MANIFEST"};

    for (size_t i = 0; said && i < sizeof(others) / sizeof(others[0]); i++) {
        if (strstr(said, others[i]))
            return false;
    }
    return true;
}

static const char *remedy(int err, const struct stm_store_options *how, const char *said)
{
    switch (err) {
    case -ENOENT:
        return "its directory db is missing: put it back from a backup of the store";
    case STM_E_CORRUPT:
        return how->salvage || !is_in_log(said)
                   ? "only a backup of the store helps"
                   : "restore it from a backup, or try to go back to the last whole commit with 'stemma fsck --repair'";
    case -ENOSPC:
    case -EDQUOT:
        return how->create ? "make room on that disk, or choose another" : "make room on that disk, or mount it to be read";
    case -EIO:
        return "look at the disk and the system's log; a copy of the store on another disk may still be read";
    default:
        return NULL;
    }
}

static void explain(const struct stm_store *s, int err, const char *said, char **ret_why)
{
    const char *what = remedy(err, &s->how, said);
    char *text = NULL;

    if (ret_why && asprintf(&text, "cannot %s the store %s: %s%s%s%s%s", s->how.create ? "make" : "open", s->path,
                            err == STM_E_CORRUPT ? "its database is damaged" : stm_error_text(err), said ? ": " : "", said ? said : "",
                            what ? ": " : "", what ? what : "") >= 0)
        say(ret_why, text);
}

static int open_rocksdb(struct stm_store *s, bool read_only, bool salvage, struct stm_engine **ret, char **ret_said)
{
    struct stm_engine_rocksdb_options o = {.stage = s->stage,
                                           .create = s->how.create,
                                           .read_only = read_only,
                                           .salvage = salvage,
                                           .block_cache_bytes = s->how.block_cache_bytes,
                                           .memory_bytes = s->room.unit};
    char *dir = NULL;
    int err;

    free(*ret_said);
    *ret_said = NULL;
    if (!read_only && !stm_room_to_open(&s->room, log_bytes(s)))
        return -ENOSPC;
    if (asprintf(&dir, "%s/db", s->path) < 0)
        return -ENOMEM;
    o.dir = dir;
    err = stm_engine_rocksdb_new(&o, ret, ret_said);
    free(dir);
    return err;
}

/* Steps back from the newest key, at most `steps`: no number may be left out. */
static int check_log(struct stm_iter *it, uint64_t newest, uint64_t steps, uint64_t *ret_missing)
{
    struct stm_slice key, value;
    uint64_t first = newest > steps ? newest - steps : 1, want = first;
    struct stm_key from = stm_key_log(first);
    int more = it->ops->iter_seek(it, stm_key_slice(&from));

    for (; more > 0; more = it->ops->iter_next(it), want++) {
        it->ops->iter_get(it, &key, &value);
        if (key.len != 8 || stm_get_u64(key.data) != want)
            break;
    }
    *ret_missing = want <= newest ? want : 0;
    return more < 0 ? more : 0;
}

static int find_newest(struct stm_iter *it, uint64_t *ret)
{
    struct stm_key top = stm_key_log(UINT64_MAX);
    struct stm_slice key, value;
    int err = it->ops->iter_seek_back(it, stm_key_slice(&top));

    if (err == 0)
        return STM_E_CORRUPT; /* every store has the commit that made its root */
    if (err < 0)
        return err;
    it->ops->iter_get(it, &key, &value);
    if (key.len != 8)
        return STM_E_CORRUPT;
    *ret = stm_get_u64(key.data);
    return 0;
}

static int load_log(const struct stm_store *s, struct stm_engine *e, uint64_t *ret_newest, char **ret_why)
{
    struct stm_iter *it;
    uint64_t missing = 0;
    char *text = NULL;
    int err = e->ops->iter_new(e, STM_LOG, stm_slice(NULL, 0), stm_slice(NULL, 0), 0, &it);

    if (err < 0)
        return err;
    err = find_newest(it, ret_newest);
    if (err == 0)
        err = check_log(it, *ret_newest, log_bytes(s) / COMMIT_BYTES + LOOK_BACK, &missing);
    e->ops->iter_free(it);
    if (err < 0 || missing == 0)
        return err;
    if (ret_why && asprintf(&text,
                            "cannot open the store %s: commit %llu is missing, though %llu is there: a log in its directory db is damaged; "
                            "restore the store from a backup",
                            s->path, (unsigned long long)missing, (unsigned long long)*ret_newest) >= 0)
        say(ret_why, text);
    return STM_E_CORRUPT;
}

/*
 * Was the damage that the engine refuses in what nobody had flushed yet? A power cut may leave holes there, not only a torn end: of the pages of
 * a file that were waiting the disk takes any first, and a size may arrive before the bytes. So everything before the damage is read, without
 * writing, and must reach as far as the watermark knows. Where there is no watermark nothing is proved.
 */
static bool tail_was_never_flushed(struct stm_store *s)
{
    uint64_t committed = 0, durable = 0, newest = 0;
    struct stm_watermark w;
    struct stm_engine *e = NULL;
    char *said = NULL;
    int err = open_rocksdb(s, true, true, &e, &said);

    free(said);
    if (err < 0)
        return false;
    err = load_log(s, e, &newest, NULL);
    e->ops->free(e);
    stm_watermark_open(&w, s->path, false, &committed, &durable);
    stm_watermark_close(&w, false);
    return err == 0 && durable > 0 && newest >= durable && newest >= committed;
}

int stm_recover_engine(struct stm_store *s, char **ret_why)
{
    struct stm_engine *e = NULL;
    char *said = NULL;
    int err;

    if (s->how.engine == STM_ENGINE_MEM) {
        err = stm_engine_mem_new(&e);
        s->engine = e;
        return err;
    }
    if (s->how.salvage && !s->read_only)
        keep_logs(s);
    err = open_rocksdb(s, s->read_only, s->how.salvage, &e, &said);
    if (err == STM_E_CORRUPT && !s->how.salvage && tail_was_never_flushed(s))
        err = open_rocksdb(s, s->read_only, true, &e, &said);
    if ((err == -ENOSPC || err == -EDQUOT || err == -EIO) && s->how.or_read_only && !s->read_only) {
        s->read_only = true;
        s->refusal = err == -EIO ? -EIO : -ENOSPC;
        err = open_rocksdb(s, true, s->how.salvage, &e, &said);
    }
    if (err < 0)
        explain(s, err, said, ret_why);
    free(said);
    s->engine = e;
    return err;
}

/* ---- what came back ---- */

static int check_watermark(struct stm_store *s, bool write, uint64_t newest, char **ret_why)
{
    uint64_t committed, durable;
    char *text = NULL;

    stm_watermark_open(&s->watermark, s->path, write, &committed, &durable);
    uint64_t known = committed > durable ? committed : durable;
    if (newest < known && !s->how.salvage) {
        if (ret_why &&
            asprintf(&text,
                     "cannot open the store %s: its newest commits are missing: it ends at %llu, but %llu had been %s: the end of "
                     "the log in its directory db is damaged; restore the store from a backup, or go on without these commits with "
                     "'stemma fsck --repair'",
                     s->path, (unsigned long long)newest, (unsigned long long)known,
                     durable > newest ? "flushed to the disk" : "acknowledged") >= 0)
            say(ret_why, text);
        stm_watermark_close(&s->watermark, false);
        return STM_E_CORRUPT;
    }
    s->lost = newest < known ? known - newest : 0;
    stm_watermark_committed(&s->watermark, newest);
    stm_watermark_durable(&s->watermark, newest); /* an engine that was opened for writing has flushed what it brought back */
    return 0;
}

int stm_recover_commits(struct stm_store *s, char **ret_why)
{
    struct stm_log_record r;
    uint64_t newest = 0;
    int err = load_log(s, s->engine, &newest, ret_why);

    if (err == 0 && s->path[0])
        err = check_watermark(s, !s->read_only, newest, ret_why);
    if (err == 0)
        err = stm_log_get(s, newest, &r, NULL, NULL);
    if (err < 0)
        return err;
    atomic_store(&s->pipeline.published, newest);
    s->pipeline.last_ns = r.recorded_ns;
    s->flush.synced = newest; /* what was there at open is as durable as it will get; newer commits count from here */
    return 0;
}

int stm_recover_writing(struct stm_store *s)
{
    struct stm_engine *e = NULL;
    uint64_t newest = 0;
    char *said = NULL;
    int err = open_rocksdb(s, false, s->how.salvage, &e, &said);

    free(said);
    if (err < 0)
        return err;
    err = load_log(s, e, &newest, NULL);
    if (err == 0 && newest != stm_store_seq(s))
        err = STM_E_CORRUPT;
    if (err == 0)
        err = check_watermark(s, true, newest, NULL);
    if (err < 0) {
        e->ops->free(e);
        return err;
    }
    s->retired = s->engine; /* readers may be in it */
    s->engine = e;
    return 0;
}
