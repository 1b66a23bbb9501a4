/* fsck_tree.c: names: the entries of directories, and what they were in the past. What they name is fsck_object.c's. */
#include <sys/stat.h>

#include "fsck.h"
#include "stemma/name.h"

enum { KEY_HEAD = 16, HIST_TAIL = 9 };

/* Parent and name of an entry's key; false when it is none. tail: what follows the name. */
static bool parse(struct stm_slice key, size_t tail, struct stm_flaw *ret)
{
    const uint8_t *k = key.data;

    if (key.len <= KEY_HEAD + tail || key.len - KEY_HEAD - tail > STM_NAME_MAX)
        return false;
    ret->parent = stm_get_u64(k);
    ret->name = stm_slice(k + KEY_HEAD, key.len - KEY_HEAD - tail);
    ret->key = key;
    return stm_name_cookie(ret->name) == stm_get_u64(k + 8) && memchr(ret->name.data, 0, ret->name.len) == NULL &&
           memchr(ret->name.data, '/', ret->name.len) == NULL;
}

static int strange(struct stm_fsck *f, enum stm_space space, struct stm_slice key)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_STRANGE, .space = space, .key = key};
    return stm_fsck_found(f, &flaw, "no entry has such a key or value");
}

/* The entry goes. Directories count what is in them: theirs is another flaw, found in the next round. */
static void remove_entry(struct stm_mend *m, const struct stm_flaw *flaw, uint64_t object)
{
    struct stm_key key, target = stm_key_object(object);

    m->err = stm_fsck_key(flaw->key, &key);
    stm_mend_guard(m, STM_DENTRY, &key);
    if (object)
        stm_mend_guard(m, STM_OBJECT, &target);
    stm_mend_remove(m, STM_DENTRY, &key);
    m->touch = (struct stm_fsck_touch){.parent = flaw->parent, .name = flaw->name};
}

/* The name's directory. 0: all is well; 1: the entry was told about. */
static int check_parent(struct stm_fsck *f, struct stm_flaw *flaw, uint64_t object)
{
    struct stm_mend mend = {0};
    struct stm_object dir;
    int err = stm_object_load(&f->v, flaw->parent, &dir);

    if (err == STM_E_CORRUPT || (err == 0 && S_ISDIR(dir.mode)))
        return 0;
    if (err < 0 && err != -ENOENT)
        return err;
    flaw->kind = STM_FLAW_ENTRY_LOST;
    flaw->mend = &mend;
    remove_entry(&mend, flaw, object);
    err = stm_fsck_found(f, flaw, "its directory %llu is %s", (unsigned long long)flaw->parent, err < 0 ? "not there" : "no directory");
    return err < 0 ? err : 1;
}

static int wrong_type(struct stm_fsck *f, struct stm_flaw *flaw, const struct stm_dentry *d, const struct stm_object *o)
{
    struct stm_key key, target = stm_key_object(o->id);
    struct stm_mend mend = {0};
    uint8_t payload[17];

    mend.err = stm_fsck_key(flaw->key, &key);
    stm_put_u64(payload, d->object);
    stm_put_u64(payload + 8, d->seq);
    payload[16] = (uint8_t)((o->mode & S_IFMT) >> 12);
    stm_mend_guard(&mend, STM_DENTRY, &key);
    stm_mend_guard(&mend, STM_OBJECT, &target);
    stm_mend_put(&mend, STM_DENTRY, &key, stm_slice(payload, sizeof payload));
    mend.touch = (struct stm_fsck_touch){flaw->parent, o->id, flaw->name};
    flaw->kind = STM_FLAW_ENTRY_TYPE;
    flaw->mend = &mend;
    return stm_fsck_found(f, flaw, "the entry says type %o, its object %o", d->type >> 12, (o->mode & S_IFMT) >> 12);
}

/* A directory that another directory names as well, and that says the other is its parent: this name goes. */
static int check_directory(struct stm_fsck *f, struct stm_flaw *flaw, const struct stm_object *o)
{
    struct stm_mend mend = {0};
    struct stm_dir *d;
    struct stm_entry e = {.object = 0};

    if (o->parent == flaw->parent && o->id != STM_ROOT_OBJECT)
        return 0;
    int err = o->id == STM_ROOT_OBJECT ? 1 : stm_dir_open(&f->v, o->parent, 0, &d);
    if (err == 0) {
        do
            err = stm_dir_next(d, &e, NULL);
        while (err > 0 && e.object != o->id);
        stm_dir_free(d);
    }
    flaw->mend = &mend;
    if (err > 0) { /* the other name is there */
        flaw->kind = STM_FLAW_ENTRY_TWICE;
        remove_entry(&mend, flaw, o->id);
        return stm_fsck_found(f, flaw, "directory %llu has its place in %llu", (unsigned long long)o->id, (unsigned long long)o->parent);
    }
    struct stm_key dir = stm_key_object(o->id), key;
    mend.err = stm_fsck_key(flaw->key, &key);
    stm_mend_guard(&mend, STM_OBJECT, &dir);
    stm_mend_guard(&mend, STM_DENTRY, &key);
    struct stm_object_fix fix = {.object = o->id, .what = STM_FIX_PARENT, .parent = flaw->parent};
    mend.extra = stm_object_fix_build;
    mend.arg = &fix;
    mend.touch.object = o->id;
    flaw->kind = STM_FLAW_PARENT;
    return stm_fsck_found(f, flaw, "directory %llu says that it is in %llu, where it has no name", (unsigned long long)o->id,
                          (unsigned long long)o->parent);
}

static int each_entry(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.space = STM_DENTRY};
    struct stm_mend mend = {0};
    struct stm_dentry d;
    struct stm_object o;

    if (!parse(key, 0, &flaw) || stm_dentry_decode(payload, &d) < 0 || d.seq > f->seq || d.object == 0)
        return strange(f, STM_DENTRY, key);
    int err = check_parent(f, &flaw, d.object);
    if (err != 0)
        return err < 0 ? err : 0;
    err = stm_object_load(&f->v, d.object, &o);
    if (err == STM_E_CORRUPT)
        return 0;
    flaw.object = d.object;
    if (err == -ENOENT) {
        flaw.kind = STM_FLAW_ENTRY_DANGLING;
        flaw.mend = &mend;
        remove_entry(&mend, &flaw, d.object);
        return stm_fsck_found(f, &flaw, "it names object %llu, which is not there", (unsigned long long)d.object);
    }
    if (err < 0)
        return err;
    if (d.type != (o.mode & S_IFMT))
        return wrong_type(f, &flaw, &d, &o);
    return S_ISDIR(o.mode) ? check_directory(f, &flaw, &o) : 0;
}

/* Which object it named is lost. The object, if nothing else names it, gets a name in /lost+found in the next round. */
static int bad_entry(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_RECORD, .space = STM_DENTRY};
    struct stm_mend mend = {0};

    (void)payload;
    f->blind = true;
    if (!parse(key, 0, &flaw))
        return strange(f, STM_DENTRY, key);
    flaw.mend = &mend;
    remove_entry(&mend, &flaw, 0);
    return stm_fsck_found(f, &flaw, "the entry fails its checksum: which object it names is lost");
}

int stm_fsck_tree(struct stm_fsck *f)
{
    struct stm_scan s = {.space = STM_DENTRY, .each = each_entry, .bad = bad_entry};

    return stm_fsck_scan(f, &s);
}

/* ---- the past ------------------------------------------------------------------------------------------------------------------ */

/* The interval that was seen last: of the same name it is the newer one. */
struct past_state {
    uint8_t name[8 + 8 + STM_NAME_MAX + 1];
    size_t name_len;
    uint64_t from; /* where the newer interval, or the entry of now, begins */
};

static int remove_past(struct stm_fsck *f, struct stm_flaw *flaw, const char *why)
{
    struct stm_mend mend = {0};
    struct stm_key key;

    mend.err = stm_fsck_key(flaw->key, &key);
    stm_mend_guard(&mend, STM_DENTRYHIST, &key);
    stm_mend_remove(&mend, STM_DENTRYHIST, &key);
    flaw->mend = &mend;
    return stm_fsck_found(f, flaw, "%s", why);
}

/* A name that is seen for the first time: the entry of now, if it has one, is newer than all of the past. */
static int begin_name(struct stm_fsck *f, struct past_state *p, const struct stm_flaw *flaw)
{
    struct stm_dentry d;
    size_t len = KEY_HEAD + flaw->name.len;

    if (len == p->name_len && memcmp(p->name, flaw->key.data, len) == 0)
        return 0;
    memcpy(p->name, flaw->key.data, len);
    p->name_len = len;
    p->from = UINT64_MAX;
    int err = stm_dentry_load(&f->v, flaw->parent, flaw->name, &d);
    if (err == 0)
        p->from = d.seq;
    return err == -ENOENT || err == STM_E_CORRUPT ? 0 : err;
}

static int each_past(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_PAST, .space = STM_DENTRYHIST};
    struct past_state *p = f->arg;
    struct stm_dentry d;

    if (!parse(key, HIST_TAIL, &flaw) || stm_past_decode(payload, &d) < 0)
        return strange(f, STM_DENTRYHIST, key);
    uint64_t from = ~stm_get_u64((const uint8_t *)key.data + key.len - 8);
    struct stm_key target = stm_key_object(d.object);
    int there = stm_fsck_has(f, STM_OBJECT, &target), err = begin_name(f, p, &flaw);
    if (err < 0 || (there < 0 && there != STM_E_CORRUPT))
        return err < 0 ? err : there;
    if (from == UINT64_MAX) /* a tombstone */
        return there == 0 ? remove_past(f, &flaw, "a line waits here whose object is not there") : 0;
    uint64_t newer = p->from;
    p->from = from;
    if (there == 0)
        return remove_past(f, &flaw, "the name had an object that is not there");
    if (from >= d.until || d.until > f->seq)
        return remove_past(f, &flaw, "the interval ends before it begins, or in the future");
    return d.until > newer ? remove_past(f, &flaw, "two intervals of the name overlap") : 0;
}

static int bad_past(struct stm_fsck *f, struct stm_slice key, struct stm_slice payload)
{
    struct stm_flaw flaw = {.kind = STM_FLAW_RECORD, .space = STM_DENTRYHIST};

    (void)payload;
    return parse(key, HIST_TAIL, &flaw) ? remove_past(f, &flaw, "an interval of the name's past fails its checksum")
                                        : strange(f, STM_DENTRYHIST, key);
}

int stm_fsck_past(struct stm_fsck *f)
{
    struct stm_scan s = {.space = STM_DENTRYHIST, .each = each_past, .bad = bad_past};
    struct past_state p = {.name_len = 0};

    f->arg = &p;
    return stm_fsck_scan(f, &s);
}
