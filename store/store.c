/*
 * store.c: opening and closing a store, ids, statistics. Here everything is put together: this file and open_engine() are the picture of
 * the library. The order of commits is commit.c's.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsck.h"
#include "inner.h"
#include "layout.h"
#include "recover.h"
#include "segment.h"

enum {
    ID_BLOCK = 4096,
    UUID_BYTES = 16,
    DEFAULT_CACHE = 32 << 20,
    FROZEN_CACHE = 16 << 20,
    SMALL_FRAME = STM_FRAME_HEAD + 32 + STM_FRAME_TAIL
};

int64_t stm_store_now_ns(struct stm_store *s)
{
    return s->clock.now_ns(s->clock.arg);
}

const char *stm_store_path(const struct stm_store *s)
{
    return s->path;
}

const char *stm_store_stage(const struct stm_store *s)
{
    return s->stage;
}

const char *stm_store_uuid(const struct stm_store *s)
{
    return s->uuid;
}

/* Writes one small sys record outside the pipeline. */
static int sys_put(struct stm_store *s, const char *name, const void *payload, size_t len, bool sync)
{
    struct stm_key key = stm_key_sys(name);
    uint8_t frame[SMALL_FRAME];
    size_t size = STM_FRAME_HEAD + len + STM_FRAME_TAIL;

    frame[0] = STM_RECORD_FORMAT;
    memcpy(frame + STM_FRAME_HEAD, payload, len);
    stm_frame_close(STM_SYS, stm_key_slice(&key), frame, size);
    struct stm_op op = {STM_OP_PUT, STM_SYS, stm_key_slice(&key), stm_slice(frame, size)};
    return stm_store_wrote(s, s->engine->ops->commit(s->engine, &op, 1, sync));
}

static int sys_get(struct stm_store *s, const char *name, void *payload, size_t len)
{
    struct stm_key key = stm_key_sys(name);
    struct stm_view v = stm_view_head(s);
    struct stm_buf buf = STM_BUF_INIT;
    struct stm_slice got;
    int err = stm_read(&v, STM_SYS, &key, &buf, &got);

    if (err == 0)
        err = got.len == len ? 0 : STM_E_CORRUPT;
    if (err == 0)
        memcpy(payload, got.data, len);
    stm_buf_release(&buf);
    return err;
}

/*
 * Ids are taken from blocks whose end is stored before the first of them is used: durably, since a file may be ingested under an id and
 * outlive a power cut that the log did not.
 */
int stm_store_new_id(struct stm_store *s, uint64_t *ret)
{
    uint8_t limit[8];
    int err = 0;

    stm_mutex_lock(&s->ids);
    if (s->next_id >= s->id_limit) {
        stm_put_u64(limit, s->id_limit + ID_BLOCK);
        err = s->id_limit + ID_BLOCK > STM_ID_MAX ? STM_E_ID_RANGE : sys_put(s, "ids", limit, sizeof limit, true);
        if (err == 0)
            s->id_limit += ID_BLOCK;
    }
    if (err == 0)
        *ret = s->next_id++;
    stm_mutex_unlock(&s->ids);
    return err;
}

int stm_store_raise_ids(struct stm_store *s, uint64_t id)
{
    uint8_t limit[8];
    int err = 0;

    stm_mutex_lock(&s->ids);
    stm_put_u64(limit, id > s->id_limit ? id : s->id_limit);
    err = id > STM_ID_MAX ? STM_E_ID_RANGE : sys_put(s, "ids", limit, sizeof limit, true);
    if (err == 0 && id > s->id_limit)
        s->next_id = s->id_limit = id;
    stm_mutex_unlock(&s->ids);
    return err;
}

static int alloc_store(const struct stm_store_options *opt, struct stm_store **ret)
{
    struct stm_store *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    s->lock_fd = -1;
    s->clock = opt->clock ? *opt->clock : stm_clock_system();
    s->how = *opt;
    s->read_only = opt->read_only;
    s->refusal = opt->read_only ? -EROFS : 0;
    s->watermark.fd = -1;
    stm_room_none(&s->room);
    s->path = strdup(opt->path ? opt->path : "");
    if (!s->path || asprintf(&s->stage, "%s%s", s->path, opt->path ? "/stage" : "") < 0)
        s->stage = NULL;
    stm_mutex_init(&s->pipeline.mutex, STM_RANK_PIPELINE, "pipeline");
    stm_mutex_init(&s->flush.mutex, STM_RANK_PIPELINE, "flush");
    stm_mutex_init(&s->ids, STM_RANK_IDS, "ids");
    stm_mutex_init(&s->health_lock, STM_RANK_CACHE, "health");
    pthread_cond_init(&s->pipeline.idle, NULL);
    pthread_cond_init(&s->flush.done, NULL);
    s->pipeline.last = &s->pipeline.first;
    s->next_id = s->id_limit = STM_ROOT_OBJECT + 1;
    *ret = s;
    return s->stage ? 0 : -ENOMEM;
}

static void free_store(struct stm_store *s)
{
    if (s->engine)
        s->engine->ops->free(s->engine);
    if (s->retired)
        s->retired->ops->free(s->retired);
    if (s->engine && s->path[0] && !s->read_only)
        stm_layout_tidy(s->path);
    stm_cache_free(s->cache);
    stm_mutex_release(&s->pipeline.mutex);
    stm_mutex_release(&s->flush.mutex);
    stm_mutex_release(&s->ids);
    stm_mutex_release(&s->health_lock);
    stm_room_release(&s->room);
    stm_watermark_close(&s->watermark, false);
    pthread_cond_destroy(&s->pipeline.idle);
    pthread_cond_destroy(&s->flush.done);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->path);
    free(s->stage);
    free(s);
}

/* What a new store holds: its identity and a root directory. */
static int write_first_records(struct stm_store *s, const struct stm_store_options *opt)
{
    uint8_t super[4 + UUID_BYTES];
    struct stm_change change = {.sync = true};
    struct stm_object root = {.id = STM_ROOT_OBJECT,
                              .mode = S_IFDIR | (opt->root_mode ? opt->root_mode & 07777 : 0755),
                              .nlink = 2,
                              .uid = opt->root_uid,
                              .gid = opt->root_gid,
                              .parent = STM_ROOT_OBJECT};
    struct stm_txn t = {0};
    uint64_t seq;

    stm_put_u32(super, STM_STORE_FORMAT);
    if (getrandom(super + 4, UUID_BYTES, 0) != UUID_BYTES)
        return -EIO;
    int err = sys_put(s, "super", super, sizeof super, false);
    if (err < 0)
        return err;
    root.atime_ns = root.mtime_ns = root.ctime_ns = root.btime_ns = stm_store_now_ns(s);
    stm_txn_begin(&t, s, &change);
    err = stm_object_put(&t, &root, stm_slice(NULL, 0));
    if (err == 0)
        err = stm_txn_log(&t, 'c', root.id, 0, stm_slice("", 0));
    if (err == 0)
        err = stm_txn_seal(&t);
    if (err == 0)
        err = stm_pipeline_submit(s, &t, true, &seq);
    stm_txn_release(&t);
    return err;
}

static int load_records(struct stm_store *s, char **ret_why)
{
    uint8_t super[4 + UUID_BYTES], limit[8];
    int err = sys_get(s, "super", super, sizeof super);

    if (err == 0 && stm_get_u32(super) > STM_STORE_FORMAT)
        err = STM_E_NEWER_FORMAT;
    if (err < 0)
        return err == -ENOENT ? STM_E_CORRUPT : err;
    for (int i = 0; i < UUID_BYTES; i++)
        snprintf(s->uuid + i * 2, 3, "%02x", super[4 + i]);
    err = sys_get(s, "ids", limit, sizeof limit);
    if (err == 0)
        s->next_id = s->id_limit = stm_get_u64(limit);
    if (err < 0 && err != -ENOENT)
        return err;
    return stm_recover_commits(s, ret_why);
}

static int purge_one(struct stm_txn *t, void *arg)
{
    return stm_object_purge(t, *(const uint64_t *)arg);
}

int stm_orphans_each(struct stm_store *s, int (*each)(void *arg, uint64_t object), void *arg)
{
    struct stm_engine *e = s->engine;
    struct stm_key low = stm_key_index(STM_IX_ORPHAN, 0), high = stm_key_index(STM_IX_ORPHAN, UINT64_MAX);
    struct stm_slice key, value;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, STM_INDEX, stm_key_slice(&low), stm_key_slice(&high), 0, &it);

    if (err < 0)
        return err;
    for (err = e->ops->iter_seek(it, stm_key_slice(&low)); err > 0; err = e->ops->iter_next(it)) {
        e->ops->iter_get(it, &key, &value);
        int stop = each(arg, key.len == 9 ? stm_get_u64((const uint8_t *)key.data + 1) : 0);
        if (stop != 0) {
            err = stop;
            break;
        }
    }
    e->ops->iter_free(it);
    return err;
}

/* Objects without a name whose last handle was open when an earlier process ended. */
static int sweep_orphan(void *arg, uint64_t object)
{
    return stm_update(arg, &(struct stm_change){.pressing = true}, purge_one, &object, NULL);
}

/*
 * Removes what a crash may have left; afterwards everything below the mark is known to be whole. A takeover keeps what the kernel may still
 * ask for: drafts in stage, and objects that are open and have no name.
 */
static int sweep(struct stm_store *s, bool takeover)
{
    uint8_t mark[8];
    uint64_t first = 0;
    int err = sys_get(s, "swept", mark, sizeof mark);

    if (err == 0)
        first = stm_get_u64(mark);
    if (err == 0 || err == -ENOENT)
        err = s->path[0] ? stm_layout_sweep_stage(s->stage, takeover) : 0;
    if (err == 0 && s->path[0])
        stm_layout_tidy(s->path);
    if (err == 0)
        err = stm_segment_sweep(s, first);
    if (err == 0 && !takeover)
        err = stm_orphans_each(s, sweep_orphan, s);
    stm_put_u64(mark, s->next_id);
    if (err == 0)
        err = sys_put(s, "swept", mark, sizeof mark, false);
    return err == -ENOSPC || err == -EDQUOT ? 0 : err; /* another time: a full disk is no reason not to read */
}

static int open_files(struct stm_store *s, const struct stm_store_options *opt, char **ret_why)
{
    int err = 0;

    if (!opt->path)
        return opt->engine == STM_ENGINE_MEM ? 0 : -EINVAL;
    err = opt->create ? stm_layout_create(opt->path, ret_why) : stm_layout_check(opt->path, ret_why);
    if (err == 0)
        err = stm_layout_lock(opt->path, opt->read_only, &s->lock_fd, ret_why);
    return err < 0 || opt->read_only ? err : stm_room_init(&s->room, opt->path);
}

int stm_store_open(const struct stm_store_options *opt, struct stm_store **ret, char **ret_why)
{
    struct stm_store *s = NULL;
    bool fresh = opt->create || opt->engine == STM_ENGINE_MEM;
    int err = alloc_store(opt, &s);

    if (ret_why)
        *ret_why = NULL;
    if (err == 0)
        err = open_files(s, opt, ret_why);
    if (err == 0)
        err = stm_cache_new(opt->content_cache_bytes ? opt->content_cache_bytes : DEFAULT_CACHE, &s->cache);
    if (err == 0)
        err = stm_recover_engine(s, ret_why);
    if (err == 0 && fresh)
        err = write_first_records(s, opt);
    if (err == 0)
        err = load_records(s, ret_why);
    if (err == 0)
        err = stm_quarantine_count(s);
    if (err == 0 && !s->read_only)
        err = sweep(s, opt->takeover);
    if (err == 0 && fresh && opt->path)
        err = stm_layout_mark(opt->path, ret_why);
    if (err < 0) {
        if (ret_why && !*ret_why && opt->path && asprintf(ret_why, "cannot open the store %s: %s", opt->path, stm_error_text(err)) < 0)
            *ret_why = NULL;
        bool made = opt->create && s && s->lock_fd >= 0; /* by us, in a directory that was empty */
        if (s)
            free_store(s);
        if (made)
            stm_layout_undo(opt->path);
        return err;
    }
    (void)stm_room_look(&s->room);
    *ret = s;
    return 0;
}

int stm_store_reopen(struct stm_store *s)
{
    if (s->refusal == 0 || s->refusal == -EROFS)
        return 0;
    int err = stm_recover_writing(s);
    if (err < 0)
        return err;
    s->read_only = false;
    if (sweep(s, true) < 0) /* what is open stays */
        atomic_store(&s->write_error, -EIO);
    s->refusal = 0;
    return 0;
}

int stm_store_close(struct stm_store *s)
{
    int err = 0;

    if (!s)
        return 0;
    stm_pipeline_alone_begin(s); /* whoever is committing finishes */
    stm_pipeline_alone_end(s);
    if (!s->read_only)
        err = stm_store_sync(s);
    stm_watermark_close(&s->watermark, err == 0);
    free_store(s);
    return err;
}

int stm_store_freeze(struct stm_store *s, struct stm_store **ret)
{
    struct stm_store_options opt = {.path = s->path, .clock = &s->clock, .read_only = true};
    struct stm_engine *engine = NULL;
    struct stm_store *f = NULL;
    int err = alloc_store(&opt, &f);

    if (err == 0)
        err = stm_cache_new(FROZEN_CACHE, &f->cache);
    if (err == 0)
        err = s->engine->ops->freeze(s->engine, &engine);
    if (err == 0)
        f->engine = engine;
    if (err < 0) {
        stm_store_thaw(f);
        return err;
    }
    stm_mutex_lock(&s->ids);
    f->next_id = s->next_id;
    stm_mutex_unlock(&s->ids);
    atomic_store(&f->pipeline.published, stm_store_seq(s));
    *ret = f;
    return 0;
}

void stm_store_thaw(struct stm_store *frozen)
{
    if (frozen)
        free_store(frozen);
}

int stm_store_stats(struct stm_store *s, struct stm_store_stats *ret)
{
    struct stm_engine_stats es = {0};
    struct stm_cache_stats cs;
    int err = s->engine->ops->stats(s->engine, &es);

    if (err < 0)
        return err;
    stm_cache_stats(s->cache, &cs);
    stm_mutex_lock(&s->ids);
    uint64_t ids = s->next_id;
    stm_mutex_unlock(&s->ids);
    *ret = (struct stm_store_stats){.seq = stm_store_seq(s),
                                    .objects_allocated = ids,
                                    .bytes_on_disk = es.bytes_on_disk,
                                    .keys_estimate = es.keys_estimate,
                                    .engine_memory_bytes = es.cache_bytes,
                                    .cache_hits = cs.hits,
                                    .cache_misses = cs.misses,
                                    .cache_bytes = cs.bytes,
                                    .commits = atomic_load(&s->pipeline.commits),
                                    .groups = atomic_load(&s->pipeline.groups),
                                    .conflicts = atomic_load(&s->pipeline.conflicts),
                                    .degraded = es.degraded || atomic_load(&s->write_error) < 0,
                                    .lost_commits = s->lost,
                                    .read_only = s->read_only,
                                    .engine = s->engine->ops->name};
    return 0;
}
