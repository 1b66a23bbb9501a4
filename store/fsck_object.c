/*
 * fsck_object.c: objects: recounted from the entries that name them, reachable, and in agreement with their versions and the index. Counts
 * are taken for a window of ids at a time, so that memory does not grow with the store.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fsck.h"

enum { KNOWN_DIRS = 1 << 16 };

struct object_state {
    uint64_t *reached; /* directories from which the root was reached, by id modulo KNOWN_DIRS */
};

static int count_entry(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_dentry d;

    (void)key;
    if (stm_dentry_decode(payload, &d) == 0 && d.object >= f->base && d.object - f->base < STM_FSCK_WINDOW)
        f->links[d.object - f->base]++;
    return 0;
}

/* A flaw of an object, with a mend that holds while the object's record is as it is. */
static void about(struct stm_flaw *flaw, struct stm_mend *m, const struct stm_key *key, uint64_t object)
{
    *flaw = (struct stm_flaw){.space = STM_OBJECT, .key = stm_key_slice(key), .object = object, .mend = m};
    stm_mend_guard(m, STM_OBJECT, key);
    m->touch.object = object;
}

static int fix_object(struct stm_fsck *f, enum stm_flaw_kind kind, struct stm_object_fix *fix, const char *what)
{
    struct stm_key key = stm_key_object(fix->object);
    struct stm_mend mend = {.extra = stm_object_fix_build, .arg = fix};
    struct stm_flaw flaw;

    about(&flaw, &mend, &key, fix->object);
    flaw.kind = kind;
    return stm_fsck_found(f, &flaw, "%s", what);
}

static int rescue(struct stm_fsck *f, enum stm_flaw_kind kind, const struct stm_object *o, uint32_t nlink)
{
    struct stm_rescue r = {o->id, nlink};
    struct stm_mend mend = {.extra = stm_rescue_build, .arg = &r};
    struct stm_key key = stm_key_object(o->id);
    struct stm_flaw flaw;

    about(&flaw, &mend, &key, o->id);
    flaw.kind = kind;
    mend.touch = (struct stm_fsck_touch){STM_ROOT_OBJECT, o->id, stm_slice_str("lost+found")};
    return stm_fsck_found(f, &flaw, "no directory names this %s of %llu bytes, which counts %u links",
                          S_ISDIR(o->mode)   ? "directory"
                          : S_ISREG(o->mode) ? "file"
                                             : "object",
                          (unsigned long long)o->size, o->nlink);
}

/* ---- directories ------------------------------------------------------------------------------------------------------------- */

/* Counts what is in the directory; the keys are read in place. */
static int count_dir(struct stm_fsck *f, uint64_t dir, uint64_t *ret_entries, uint32_t *ret_subdirs)
{
    struct stm_key low = stm_key_dentry_from(dir, 0), high = stm_key_dentry_from(dir + 1, 0);
    struct stm_engine *e = f->frozen->engine;
    struct stm_slice key, value, payload;
    struct stm_dentry d;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, STM_DENTRY, stm_key_slice(&low), stm_key_slice(&high), 0, &it);

    if (err < 0)
        return err;
    *ret_entries = *ret_subdirs = 0;
    for (err = e->ops->iter_seek(it, stm_key_slice(&low)); err > 0; err = e->ops->iter_next(it)) {
        e->ops->iter_get(it, &key, &value);
        ++*ret_entries;
        if (stm_frame_open(STM_DENTRY, key, value, &payload) == 0 && stm_dentry_decode(payload, &d) == 0)
            *ret_subdirs += d.type == S_IFDIR;
    }
    e->ops->iter_free(it);
    return err;
}

/* Does the way up end at the root? 1, 0 (it goes round), or -ENOENT (it ends at what is not there: another flaw). Brent's algorithm. */
static int reaches_root(struct stm_fsck *f, uint64_t dir)
{
    struct object_state *s = f->arg;
    uint64_t at = dir, mark = 0, steps = 0, limit = 1;
    struct stm_object o;

    while (at != STM_ROOT_OBJECT && s->reached[at % KNOWN_DIRS] != at) {
        int err = stm_object_load(&f->v, at, &o);
        if (err < 0 || !S_ISDIR(o.mode))
            return err < 0 && err != STM_E_CORRUPT ? err : -ENOENT;
        at = o.parent;
        if (at == mark)
            return 0;
        if (++steps == limit) {
            mark = at;
            limit *= 2;
            steps = 0;
        }
    }
    s->reached[dir % KNOWN_DIRS] = dir;
    return 1;
}

/* Is the directory part of the circle, and the one with the smallest id there? So a circle is told and cut once. */
static bool first_of_circle(struct stm_fsck *f, uint64_t dir)
{
    struct stm_object o = {.parent = dir};
    uint64_t least = dir, at = dir;

    do {
        if (stm_object_load(&f->v, at, &o) < 0)
            return false;
        at = o.parent;
        least = at < least ? at : least;
    } while (at != dir && at != least);
    return at == dir && least == dir;
}

/* The name by which it hangs in the circle goes, and it gets one in /lost+found. */
static int cut_circle(struct stm_fsck *f, const struct stm_object *o, uint32_t nlink)
{
    struct stm_rescue r = {o->id, nlink};
    struct stm_mend mend = {.extra = stm_rescue_build, .arg = &r};
    struct stm_key key = stm_key_object(o->id), name;
    struct stm_entry e = {.object = 0};
    struct stm_dir *d;
    struct stm_flaw flaw;
    int err = stm_dir_open(&f->v, o->parent, 0, &d);

    if (err < 0)
        return err;
    do
        err = stm_dir_next(d, &e, NULL);
    while (err > 0 && e.object != o->id);
    stm_dir_free(d);
    if (err <= 0)
        return err;
    about(&flaw, &mend, &key, o->id);
    flaw.kind = STM_FLAW_CYCLE;
    name = stm_key_dentry(o->parent, stm_slice(e.name, e.name_len));
    stm_mend_guard(&mend, STM_DENTRY, &name);
    stm_mend_remove(&mend, STM_DENTRY, &name);
    mend.touch = (struct stm_fsck_touch){o->parent, o->id, stm_slice(e.name, e.name_len)};
    return stm_fsck_found(f, &flaw, "directory %llu lies in directory %llu, which lies below it", (unsigned long long)o->id,
                          (unsigned long long)o->parent);
}

static int check_dir(struct stm_fsck *f, const struct stm_object *o, uint32_t names)
{
    struct stm_object_fix fix = {.object = o->id, .what = STM_FIX_LINKS | STM_FIX_ENTRIES};
    char what[160];
    int err = count_dir(f, o->id, &fix.entries, &fix.nlink);

    if (err < 0 || f->blind)
        return err == STM_E_CORRUPT ? 0 : err;
    bool root = o->id == STM_ROOT_OBJECT, gone = names == 0 && !root && fix.entries == 0 && o->nlink == 0;
    fix.nlink = gone ? 0 : fix.nlink + 2;
    if (names == 0 && !root && !gone)
        return rescue(f, STM_FLAW_LOST, o, fix.nlink);
    if (o->entries != fix.entries || o->nlink != fix.nlink) {
        snprintf(what, sizeof what, "it counts %llu entries and %u links, and has %llu and %u", (unsigned long long)o->entries, o->nlink,
                 (unsigned long long)fix.entries, fix.nlink);
        err = fix_object(f, STM_FLAW_ENTRIES, &fix, what);
    }
    if (err < 0 || gone)
        return err;
    if (root)
        fix = (struct stm_object_fix){.object = o->id, .what = STM_FIX_PARENT, .parent = STM_ROOT_OBJECT};
    if (root)
        return o->parent == STM_ROOT_OBJECT ? 0 : fix_object(f, STM_FLAW_PARENT, &fix, "the root has a parent");
    int reached = reaches_root(f, o->id);
    if (reached == 0 && first_of_circle(f, o->id))
        return cut_circle(f, o, fix.nlink);
    return reached < 0 && reached != -ENOENT ? reached : 0;
}

/* ---- names, orphans, attributes ------------------------------------------------------------------------------------------------ */

static int check_names(struct stm_fsck *f, const struct stm_object *o, uint32_t names)
{
    struct stm_object_fix fix = {.object = o->id, .what = STM_FIX_LINKS, .nlink = names, .flags_clear = names ? STM_OBJ_ORPHAN : 0};
    bool left_over = names == 0 && o->nlink == 0 && (o->flags & STM_OBJ_NOHISTORY) && !(o->flags & (STM_OBJ_ORPHAN | STM_OBJ_LINE_GONE));
    char what[96];

    if (f->blind)
        return 0;
    if (left_over || (names == 0 && o->nlink > 0))
        return rescue(f, STM_FLAW_LOST, o, 1);
    if (names == o->nlink)
        return 0;
    snprintf(what, sizeof what, "it counts %u links, and has %u names", o->nlink, names);
    return fix_object(f, STM_FLAW_LINKS, &fix, what);
}

/* The flag of the object and its row in the index say the same. The row without a flag is fsck_index.c's. */
static int check_orphan(struct stm_fsck *f, const struct stm_object *o, uint32_t names)
{
    struct stm_key key = stm_key_object(o->id), row = stm_key_index(STM_IX_ORPHAN, o->id);
    struct stm_mend mend = {0};
    struct stm_flaw flaw;

    if (!(o->flags & STM_OBJ_ORPHAN) || names > 0)
        return 0;
    int there = stm_fsck_has(f, STM_INDEX, &row);
    if (there != 0)
        return there < 0 && there != STM_E_CORRUPT ? there : 0;
    about(&flaw, &mend, &key, o->id);
    flaw.kind = STM_FLAW_ORPHAN;
    stm_mend_guard(&mend, STM_INDEX, &row);
    stm_mend_put(&mend, STM_INDEX, &row, stm_slice("", 0));
    return stm_fsck_found(f, &flaw, "the object waits to be purged, and the index does not say so");
}

static int check_xattr(struct stm_fsck *f, const struct stm_object *o)
{
    struct stm_object_fix fix = {.object = o->id, .flags_clear = STM_OBJ_XATTR};
    struct stm_key row = stm_key_index(STM_IX_XATTR, o->id);

    if (!(o->flags & STM_OBJ_XATTR))
        return 0;
    int there = stm_fsck_has(f, STM_INDEX, &row);
    if (there != 0)
        return there < 0 && there != STM_E_CORRUPT ? there : 0;
    return fix_object(f, STM_FLAW_XATTR, &fix, "it says that it has extended attributes, and there are none");
}

/* ---- regular files --------------------------------------------------------------------------------------------------------------- */

/* The version that is its content. */
static int check_head(struct stm_fsck *f, const struct stm_object *o)
{
    struct stm_quarantine q = {.since_ns = stm_store_now_ns(f->store), .reason = STM_QUARANTINE_MISSING};
    struct stm_object_fix fix = {.object = o->id, .what = STM_FIX_SIZE};
    struct stm_key key = stm_key_version(o->line, o->head_seq);
    struct stm_version ver = {.row = {.size = 0}};
    struct stm_mend mend = {0};
    char what[96];
    int err = o->head_seq ? stm_version_load(&f->v, o->line, o->head_seq, &ver) : 0;

    fix.size = ver.row.size;
    if (err == 0 && o->head_seq)
        stm_version_release(&ver);
    if (err == -ENOENT) {
        int known = stm_quarantine_get(&f->v, STM_VERSION, stm_key_slice(&key), NULL);
        struct stm_flaw flaw = {
            .kind = STM_FLAW_HEAD, .space = STM_VERSION, .key = stm_key_slice(&key), .object = o->id, .known = known > 0};
        flaw.seq = o->head_seq;
        flaw.mend = known > 0 ? NULL : &mend;
        if (known <= 0)
            stm_mend_quarantine(&mend, STM_VERSION, stm_key_slice(&key), &q);
        return stm_fsck_found(f, &flaw, "its content, the version of commit %llu, is not there", (unsigned long long)o->head_seq);
    }
    if (err < 0 || fix.size == o->size)
        return err == STM_E_CORRUPT ? 0 : err;
    snprintf(what, sizeof what, "it says %llu bytes, its content has %llu", (unsigned long long)o->size, (unsigned long long)fix.size);
    return fix_object(f, STM_FLAW_SIZE, &fix, what);
}

static bool same_tip(const struct stm_tip *tip, const struct stm_version_row *row)
{
    return tip->seq == row->seq && tip->ordinal == row->ordinal && tip->size == row->size && stm_hash_eq(&tip->hash, &row->hash) &&
           stm_semver_cmp(tip->semver, row->semver) == 0;
}

/* The newest row of the line, inherited ones included. -ENOENT: the line has none. */
static int newest_row(struct stm_fsck *f, const struct stm_object *o, struct stm_version_row *ret)
{
    struct stm_key low = stm_key_row(o->line, 0), high = stm_key_row(o->line, UINT32_MAX);
    struct stm_engine *e = f->frozen->engine;
    struct stm_slice key, value;
    struct stm_iter *it;
    uint32_t ordinal = 0;
    struct stm_line line;
    int err = e->ops->iter_new(e, STM_INDEX, stm_key_slice(&low), stm_key_slice(&high), 0, &it);

    if (err < 0)
        return err;
    err = e->ops->iter_seek_back(it, stm_key_slice(&high));
    if (err > 0) {
        e->ops->iter_get(it, &key, &value);
        ordinal = stm_get_u32((const uint8_t *)key.data + 9);
    }
    e->ops->iter_free(it);
    if (err == 0) {
        err = stm_line_load(&f->v, o->line, &line);
        if (err == 0 && (!line.fork_line || line.fork_ordinal == 0))
            return -ENOENT;
        ordinal = line.fork_ordinal - 1;
    }
    return err < 0 ? err : stm_version_row(&f->v, o->line, ordinal, ret);
}

static int check_tip(struct stm_fsck *f, const struct stm_object *o)
{
    struct stm_object_fix fix = {.object = o->id, .what = STM_FIX_TIP};
    struct stm_version_row row = {.line = o->line};
    char what[128];
    int err = newest_row(f, o, &row);

    if (err == -ENOENT && o->tip.seq == 0)
        return 0;
    if (err < 0 && err != -ENOENT)
        return err == STM_E_CORRUPT ? 0 : err;
    if (err == 0 && same_tip(&o->tip, &row))
        return 0;
    if (err == 0)
        fix.tip = (struct stm_tip){row.seq, row.ordinal, row.semver, row.size, row.hash};
    snprintf(what, sizeof what, "its newest version is number %u of commit %llu, the line's is %u of %llu", o->tip.ordinal,
             (unsigned long long)o->tip.seq, fix.tip.ordinal, (unsigned long long)fix.tip.seq);
    return fix_object(f, STM_FLAW_TIP, &fix, what);
}

/* The line's record says who carries it. */
static int check_owner(struct stm_fsck *f, const struct stm_object *o)
{
    struct stm_key key = stm_key_object(o->id), line_key = stm_key_index(STM_IX_LINE, o->line);
    struct stm_mend mend = {0};
    struct stm_line line;
    struct stm_object other;
    struct stm_flaw flaw;
    uint8_t payload[20];
    int err = stm_line_load(&f->v, o->line, &line);

    if (err < 0 || line.owner == o->id)
        return err == STM_E_CORRUPT ? 0 : err;
    about(&flaw, &mend, &key, o->id);
    flaw.kind = STM_FLAW_OWNER;
    err = stm_object_load(&f->v, line.owner, &other);
    bool theirs = err == 0 && other.line == o->line && other.line_until == STM_SEQ_HEAD && !(other.flags & STM_OBJ_LINE_GONE);
    if (err < 0 && err != -ENOENT && err != STM_E_CORRUPT)
        return err;
    stm_put_u64(payload, o->id);
    stm_put_u64(payload + 8, line.fork_line);
    stm_put_u32(payload + 16, line.fork_ordinal);
    stm_mend_guard(&mend, STM_INDEX, &line_key);
    stm_mend_put(&mend, STM_INDEX, &line_key, stm_slice(payload, sizeof payload));
    if (theirs) /* two objects claim it: nobody can say which is right */
        flaw.mend = NULL;
    err = stm_fsck_found(f, &flaw, "it carries line %llu, which is said to be object %llu's", (unsigned long long)o->line,
                         (unsigned long long)line.owner);
    stm_mend_release(&mend);
    return err;
}

static int check_file(struct stm_fsck *f, const struct stm_object *o)
{
    stm_fsck_saw(f, o->line);
    int err = 0;
    if (!(o->flags & STM_OBJ_LINE_GONE) && o->line_until == STM_SEQ_HEAD) {
        err = check_owner(f, o);
        if (err == 0)
            err = check_tip(f, o);
        if (err == 0)
            err = check_head(f, o);
    }
    return err;
}

/* ---- all of them --------------------------------------------------------------------------------------------------------------- */

static int each_object(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    uint64_t id = key.len == 8 ? stm_get_u64(key.data) : 0;
    struct stm_object o;

    if (id == 0 || id > STM_ID_MAX || stm_object_decode(payload, id, &o, NULL) < 0) {
        struct stm_flaw flaw = {.kind = STM_FLAW_STRANGE, .space = STM_OBJECT, .key = key, .object = id};
        return stm_fsck_found(f, &flaw, "no object has such a key or value");
    }
    stm_fsck_saw(f, id);
    uint32_t names = f->links[id - f->base];
    int err = S_ISDIR(o.mode) ? check_dir(f, &o, names) : check_names(f, &o, names);
    if (err == 0)
        err = check_orphan(f, &o, names);
    if (err == 0)
        err = check_xattr(f, &o);
    return err == 0 && S_ISREG(o.mode) ? check_file(f, &o) : err;
}

static int bad_object(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_quarantine q = {.since_ns = stm_store_now_ns(f->store), .reason = STM_QUARANTINE_CHECKSUM};
    int known = stm_quarantine_get(&f->v, STM_OBJECT, key, NULL);
    struct stm_mend mend = {0};
    struct stm_flaw flaw = {.kind = STM_FLAW_RECORD, .space = STM_OBJECT, .key = key, .known = known > 0, .mend = known > 0 ? NULL : &mend};

    (void)payload;
    flaw.object = key.len == 8 ? stm_get_u64(key.data) : 0;
    if (known <= 0)
        stm_mend_quarantine(&mend, STM_OBJECT, key, &q);
    return stm_fsck_found(f, &flaw, "object %llu fails its checksum", (unsigned long long)flaw.object);
}

/* The first object with that id or a higher one: 1, 0 (none), or an error. Where that cannot be told, it may be the very next. */
static int next_object(struct stm_fsck *f, uint64_t from, uint64_t *ret)
{
    struct stm_key low = stm_key_object(from);
    struct stm_engine *e = f->frozen->engine;
    struct stm_slice key, value;
    struct stm_iter *it;
    int err = e->ops->iter_new(e, STM_OBJECT, stm_key_slice(&low), stm_slice(NULL, 0), 0, &it);

    if (err < 0)
        return err;
    err = e->ops->iter_seek(it, stm_key_slice(&low));
    *ret = from;
    if (err > 0) {
        e->ops->iter_get(it, &key, &value);
        *ret = key.len >= 8 ? stm_get_u64(key.data) : from;
    }
    if (err == STM_E_CORRUPT)
        err = from <= f->frozen->next_id;
    e->ops->iter_free(it);
    return err;
}

static int check_window(struct stm_fsck *f)
{
    struct stm_key from = stm_key_object(f->base), to = stm_key_object(f->base + STM_FSCK_WINDOW);
    struct stm_scan names = {.space = STM_DENTRY, .each = count_entry};
    struct stm_scan objects = {STM_OBJECT, stm_key_slice(&from), stm_key_slice(&to), each_object, bad_object};

    memset(f->links, 0, STM_FSCK_WINDOW * sizeof *f->links);
    int err = stm_fsck_scan(f, &names);
    return err < 0 ? err : stm_fsck_scan(f, &objects);
}

int stm_fsck_objects(struct stm_fsck *f)
{
    struct object_state s = {.reached = calloc(KNOWN_DIRS, sizeof *s.reached)};
    uint64_t next = 0;
    int more = 1;

    f->links = malloc(STM_FSCK_WINDOW * sizeof *f->links);
    f->arg = &s;
    if (!s.reached || !f->links)
        more = -ENOMEM;
    while (more > 0 && (more = next_object(f, next, &next)) > 0) {
        f->base = next / STM_FSCK_WINDOW * STM_FSCK_WINDOW;
        int err = check_window(f);
        next = f->base + STM_FSCK_WINDOW;
        more = err < 0 ? err : next > f->base;
    }
    free(s.reached);
    free(f->links);
    f->links = NULL;
    return more < 0 ? more : 0;
}
